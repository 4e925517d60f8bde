"""``yemai edge``."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated

import typer

from yemai.commands._part import ConfigFile, group, run_module
from yemai.words import say

app = group("边缘代理。", "The edge agent.")
_EVERY_S = 1.0


@app.callback()
def _group() -> None:
    """Keep ``run`` a word of its own while it is the only one."""


@app.command(help=say("运行边缘代理。", "Run an edge agent."))
def run(config: ConfigFile) -> None:
    """Run an edge agent."""
    run_module("edge_agent", config)


@app.command(help=say("检查配置文件，不启动任何东西。", "Check a configuration; nothing is started."))
def check(
    config: Annotated[Path, typer.Argument(help=say("配置文件 (TOML)", "configuration file (TOML)"))],
) -> None:
    """Check a configuration."""
    from edge_agent.config import load_config  # noqa: PLC0415
    from yemai.commands._edge_plan import plans, remarks  # noqa: PLC0415

    checked = load_config(config)
    lines = plans(checked)
    fullest = max((bus.utilisation for bus in lines), default=0.0)
    buses, devices = len(checked.buses), sum(len(bus.devices) for bus in checked.buses)
    for remark in remarks(checked):
        typer.echo(f"{config}: {remark}")
    typer.echo(
        say(
            f"{config}: 可用：{buses} 条总线，{devices} 台设备；最忙的总线占用 {fullest:.0%}",
            f"{config}: good: {buses} bus{'' if buses == 1 else 'es'}, {devices} device{'' if devices == 1 else 's'};"
            f" the fullest bus is used to {fullest:.0%}",
        )
    )


@app.command(
    help=say(
        "打印轮询计划：请求、字节、毫秒、总线占用。", "Print the plan: requests, bytes, ms, bus utilisation."
    )
)
def plan(
    config: ConfigFile,
    json: Annotated[
        bool, typer.Option("--json", help=say("输出一个 JSON 数组", "print one JSON array"))
    ] = False,
) -> None:
    """Print the poll plan."""
    import msgspec  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    from edge_agent.config import load_config  # noqa: PLC0415
    from yemai.commands._edge_plan import plans, table  # noqa: PLC0415

    lines = plans(load_config(config))
    if json:
        typer.echo(msgspec.json.encode(lines).decode())
        return
    Console().print(table(lines))


DeviceName = Annotated[str, typer.Argument(help=say("设备", "the device's id"))]
MetricWord = Annotated[str, typer.Argument(help=say("指标", "one of its metrics"))]


@app.command(help=say("读取一台设备的一个指标。", "Read one metric of one device."))
def read(device: DeviceName, metric: MetricWord, config: ConfigFile) -> None:
    """Read one metric by hand."""
    from yemai.commands import _edge_hand  # noqa: PLC0415

    sample = asyncio.run(_edge_hand.read(config, device, metric))
    if sample.text is not None:
        typer.echo(f"{device} {metric}: '{sample.text}'")
        return
    value = say("无值", "no value") if sample.value is None else f"{sample.value:g} {sample.unit}"
    typer.echo(f"{device} {metric}: {value.strip()} ({sample.quality})")


@app.command(
    help=say(
        "写入一台设备的一个指标或文字，并读回核对。",
        "Set one metric or text of one device, and read it back.",
    ),
    context_settings={"ignore_unknown_options": True},
)
def write(
    device: DeviceName,
    metric: MetricWord,
    value: Annotated[
        str, typer.Argument(help=say("值（该类的单位）或文字", "value, in the unit of the class, or a text"))
    ],
    config: ConfigFile,
    force: Annotated[
        bool,
        typer.Option(
            "--force-without-agent",
            help=say(
                "没有代理运行时，不顾联锁直接写",
                "where no agent runs, write though interlocks cannot be held",
            ),
        ),
    ] = False,
) -> None:
    """Set one metric by hand."""
    import structlog  # noqa: PLC0415

    from yemai.commands import _edge_hand  # noqa: PLC0415

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )  # the answer is told below
    typer.echo(asyncio.run(_edge_hand.write(config, device, metric, value, force=force)))


@app.command(
    help=say("把配置推送给它所指的代理，并查看结果。", "Push configurations to the agents they name, and see what becomes of them.")
)  # fmt: skip
def push(
    files: Annotated[list[Path], typer.Argument(help=say("完整的 edge.toml，每个代理一个", "whole edge.toml files, one an agent"))],
    config: Annotated[Path, typer.Option("--config", help=say("含 [broker] 的任一配置文件", "any configuration with a [broker]"))],
    version: Annotated[str, typer.Option("--as", help=say("版本名；默认由内容得出", "the version's name; made from the text by default"))] = "",
    confirm: Annotated[float, typer.Option(help=say("试运行的秒数：上行不恢复就回滚", "seconds of the trial: no uplink by then, and it is rolled back"))] = 300.0,
    force: Annotated[bool, typer.Option("--force", help=say("即使现有设备不应答也采用", "though devices that answer today do not"))] = False,
    wait: Annotated[float, typer.Option(help=say("最多等这么多秒看结果", "wait so many seconds for what becomes of it"))] = 0.0,
    packs: Annotated[Path | None, typer.Option(help=say("一并推送此目录中本区自有的规则包", "take along the district's own rule packs of this folder"))] = None,
    diff: Annotated[bool, typer.Option("--diff", help=say("只显示差别，不推送", "only show what differs"))] = False,
) -> None:  # fmt: skip
    """Push configurations; end with 1 when one was turned down, or nothing was heard of it."""
    from yemai.commands._edge_push import Push  # noqa: PLC0415
    from yemai.commands._edge_push import push as push_all  # noqa: PLC0415

    wanted = Push(version, confirm, force, wait, diff, packs)
    if not asyncio.run(push_all(config, files, wanted, typer.echo)):
        raise typer.Exit(1)


@app.command(help=say("查看运行中的代理。", "Show a running agent: buses, devices, outbox, signal."))
def status(
    config: ConfigFile,
    once: Annotated[bool, typer.Option("--once", help=say("只显示一次", "show it once and end"))] = False,
    json: Annotated[
        bool, typer.Option("--json", help=say("输出一个 JSON 对象", "print one JSON object and end"))
    ] = False,
) -> None:
    """Show a running agent."""
    asyncio.run(_status(config, once=once, as_json=json))


async def _status(path: Path, *, once: bool, as_json: bool) -> None:
    import msgspec  # noqa: PLC0415 - the edge's packages are loaded when they are used
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from edge_agent.config import load_config  # noqa: PLC0415
    from edge_agent.local import ask  # noqa: PLC0415
    from edge_agent.status import Snapshot  # noqa: PLC0415
    from yemai.commands._edge_view import view  # noqa: PLC0415

    socket = load_config(path).socket
    answer = await ask(socket, "status")
    if as_json:
        typer.echo(answer.decode().rstrip())
        return
    console = Console()
    if once or not console.is_terminal:
        console.print(view(msgspec.json.decode(answer, type=Snapshot)))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(view(msgspec.json.decode(answer, type=Snapshot)), refresh=True)
            await asyncio.sleep(_EVERY_S)
            answer = await ask(socket, "status")
