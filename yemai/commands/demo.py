"""``yemai demo``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from yemai.words import say

app = typer.Typer(
    help=say("在本机上运行一个模拟城区。", "Run a simulated district on this machine."),
    invoke_without_command=True,
    rich_markup_mode=None,
)
DataFolder = Annotated[Path, typer.Option("--data", help=say("数据目录", "where the demo keeps its data"))]


@app.callback()
def demo_main(
    context: typer.Context,
    data: DataFolder = Path("demo-data"),
    port: Annotated[int, typer.Option(help=say("页面端口", "port of the page"))] = 8686,
    seed: Annotated[int, typer.Option(help=say("模拟世界的种子", "seed of the simulated world"))] = 7,
    check: Annotated[
        bool,
        typer.Option("--check", help=say("无界面运行并核对全部计数", "run headless and prove the count")),
    ] = False,
    duration: Annotated[
        float, typer.Option("--for", help=say("核对时长 (秒)", "seconds to check for"))
    ] = 60.0,
    json: Annotated[
        bool, typer.Option("--json", help=say("结果为一个 JSON 对象", "print one JSON object"))
    ] = False,
) -> None:
    """Start it; Ctrl-C stops it, and the next start goes on with the same data."""
    if context.invoked_subcommand is not None:
        return
    import yemai.demo.app as demo_app  # noqa: PLC0415 - loads every part; `yemai --help` should not

    if check:
        raise typer.Exit(
            asyncio.run(demo_app.check(data, port=port, seed=seed, duration_s=duration, as_json=json))
        )
    raise typer.Exit(asyncio.run(demo_app.run(data, port=port, seed=seed)))


@app.command(help=say("让运行中的演示发生一件事。", "Make something happen in the running demo."))
def scenario(
    name: Annotated[
        str | None, typer.Argument(help=say("情景名；省略则列出", "its name; omit to list them"))
    ] = None,
    data: DataFolder = Path("demo-data"),
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help=say(
                "扮演值班员，打印事件经过直到关闭", "play the operator and print the timeline to its end"
            ),
        ),
    ] = False,
) -> None:
    """Make something happen in the running demo."""
    import yemai.demo.app as demo_app  # noqa: PLC0415 - see above

    raise typer.Exit(asyncio.run(demo_app.play(data, name, follow=follow)))
