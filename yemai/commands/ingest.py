"""``yemai ingest``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from yemai.commands._part import ConfigFile, group, run_module
from yemai.commands._registry import app as registry
from yemai.words import say

if TYPE_CHECKING:
    from cloud_ingest.config import IngestConfig

app = group("云端接入。", "Cloud ingest.")
app.add_typer(registry, name="registry")
_POLL_S = 0.5


@app.command(help=say("运行云端接入。", "Run the cloud ingest."))
def run(config: ConfigFile) -> None:
    """Run the cloud ingest."""
    run_module("cloud_ingest", config)


@app.command(
    help=say("检查配置和它所指的一切：账本、设备台账、存储、消息代理。", "Check the configuration and all that it names: ledger, registry, store, broker.")
)  # fmt: skip
def check(config: ConfigFile) -> None:
    """Say of each part whether it can be used; end with 1 when one cannot."""
    from cloud_ingest.check import check_all  # noqa: PLC0415 - `yemai --help` should not load it

    failed = False
    for part, problem in check_all(_load(config)):
        failed |= bool(problem)
        typer.echo(f"{part:10} {problem or say('正常', 'ok')}")
    raise typer.Exit(int(failed))


@app.command(
    help=say(
        "重新接收隔离区中的数据，例如补登设备之后。",
        "Admit quarantined data again, for instance after a device was registered.",
    )
)
def requeue(
    config: ConfigFile,
    reason: Annotated[str | None, typer.Option(help=say("只限此原因", "only of this reason"))] = None,
    agent: Annotated[str | None, typer.Option(help=say("只限此边缘代理", "only from this agent"))] = None,
    device: Annotated[str | None, typer.Option(help=say("只限此设备", "only of this device"))] = None,
    id_: Annotated[list[int] | None, typer.Option("--id", help=say("只限此条，可重复", "only this entry; may be repeated"))] = None,
    everything: Annotated[bool, typer.Option("--all", help=say("全部", "all of it"))] = False,
    wait: Annotated[float, typer.Option(help=say("最多等这么多秒直到处理完", "wait so many seconds until it is done"))] = 0.0,
) -> None:  # fmt: skip
    """Ask the running ingest, or the next one, to admit entries again."""
    from cloud_ingest.requeue import Wanted, asked, requeue  # noqa: PLC0415 - see above

    if not everything and reason is agent is device is None and not id_:
        raise typer.BadParameter(
            say("请用 --reason、--agent、--device 或 --id 说明是哪些，或用 --all", "say which: --reason, --agent, --device or --id, or --all")
        )  # fmt: skip
    path = _load(config).ledger.path
    count = requeue(path, Wanted(agent, reason, device, tuple(id_ or ())))
    typer.echo(say(f"{count} 条将重新接收", f"{count} entries will be admitted again"))
    deadline = time.monotonic() + wait
    while (left := asked(path)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if wait and left:
        typer.echo(
            say(f"还有 {left} 条未处理；接入是否在运行？", f"{left} are not done yet; is ingest running?"),
            err=True,
        )
        raise typer.Exit(1)


@app.command(
    help=say(
        "运行数据报网关：NB-IoT 代理与消息代理之间。",
        "Run the gateway between agents on NB-IoT and the broker.",
    )
)
def gateway(config: ConfigFile) -> None:
    """Run the gateway for agents that send datagrams."""
    run_module("cloud_ingest.gateway", config)


@app.command(help=say("为数据接口生成一个密钥。", "Make a key for the data API."))
def key(
    name: Annotated[str, typer.Option(help=say("谁用它", "whose it is"))],
    scope: Annotated[list[str], typer.Option(help="read, registry, admin")] = ["read"],  # noqa: B006 - typer copies it
    per_minute: Annotated[
        int, typer.Option(min=1, help=say("每分钟最多请求数", "requests a minute at most"))
    ] = 600,
) -> None:
    """Print a new key, once, and what the configuration needs of it."""
    from cloud_ingest.api.access import make_key  # noqa: PLC0415 - see above
    from cloud_ingest.config import Scope  # noqa: PLC0415
    from telemetry.errors import did_you_mean  # noqa: PLC0415

    for wanted in scope:
        if wanted not in get_args(Scope):
            raise typer.BadParameter(f"--scope {wanted}: {did_you_mean(wanted, get_args(Scope))}")
    secret, digest = make_key()
    typer.echo(say(f"密钥（只显示这一次）：{secret}", f"The key, shown this once: {secret}"), err=True)
    quoted = ", ".join(f'"{wanted}"' for wanted in scope)
    typer.echo(
        f'[[api.keys]]\nname = "{name}"\nsha256 = "{digest}"\nscopes = [{quoted}]\nper_minute = {per_minute}'
    )


def _load(path: Path) -> IngestConfig:
    from cloud_ingest.config import load_config  # noqa: PLC0415 - see above

    return load_config(path)
