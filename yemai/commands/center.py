"""``yemai center``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from yemai.commands._part import ConfigFile, group, run_module
from yemai.words import say

if TYPE_CHECKING:
    from command_center.audit import Finding

app = group("指挥中心。", "The command centre.")

Checkpoints = Annotated[
    Path | None,
    typer.Option(
        help=say("另处保存的检查点文件", "a file of checkpoints kept elsewhere; else the configured one")
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        help=say(
            "签名公钥（十六进制）", "the public key, in hex, that must have signed them; else this centre's"
        )
    ),
]


@app.command(help=say("运行指挥中心。", "Run the command centre."))
def run(config: ConfigFile) -> None:
    """Run the command centre."""
    run_module("command_center", config)


@app.command(help=say("检查配置文件，不运行。", "Check the configuration and run nothing."))
def check(config: ConfigFile) -> None:
    """Check the configuration."""
    from command_center.config import load_config  # noqa: PLC0415 - heavy

    load_config(config)
    typer.echo(say(f"{config}：没有问题", f"{config}: nothing is wrong"))


@app.command(
    "verify-audit",
    help=say("校验审计链，有问题则退出码为 1。", "Verify the audit trail; exit 1 when it is not whole."),
)
def verify_audit(config: ConfigFile, checkpoints: Checkpoints = None, key: Key = None) -> None:
    """Verify the audit trail."""
    import asyncio  # noqa: PLC0415 - heavy

    count, seen, findings = asyncio.run(_verify(config, checkpoints, key))
    for found in findings:
        typer.echo(f"{found.seq}: {found.problem}")
    if findings:
        raise typer.Exit(1)
    typer.echo(
        say(f"{count} 条记录，{seen} 个检查点，完整", f"{count} entries against {seen} checkpoints: whole")
    )
    if not seen:
        typer.echo(
            say(
                "没有检查点：截尾与整链重写无法发现",
                "without checkpoints neither a tail cut off nor a chain stamped anew can be found",
            ),
            err=True,
        )


async def _verify(config: Path, checkpoints: Path | None, key: str | None) -> tuple[int, int, list[Finding]]:
    from command_center import audit  # noqa: PLC0415 - heavy
    from command_center.config import load_config  # noqa: PLC0415
    from command_center.store import Store  # noqa: PLC0415
    from telemetry.errors import Refused  # noqa: PLC0415

    loaded = load_config(config)
    file = checkpoints or loaded.audit.checkpoints
    if checkpoints is not None and not checkpoints.exists():
        raise Refused(f"there is no file of checkpoints '{checkpoints}'")
    known = audit.read_checkpoints(file) if file and file.exists() else []
    if key is None and loaded.audit.key.exists():
        key = audit.Signer(loaded.audit.key).public
    async with Store(loaded.desk.url) as store, store.read() as db:
        findings = await audit.verify(db, known, key)
        head = await audit.head(db, 0)
    return head.count, len(known), findings
