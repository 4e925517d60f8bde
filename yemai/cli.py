"""The ``yemai`` command: one word for each part, and ``demo`` for all of them together."""

from __future__ import annotations

import asyncio
import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer

from telemetry.errors import YemaiError
from yemai import __version__
from yemai.words import say

app = typer.Typer(
    help=say(
        "叶脉：从街头的寄存器到指挥中心的告警。",
        "Yemai: from a register on the street to an alarm in the command centre.",
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
demo = typer.Typer(
    help=say("在本机上运行一个模拟城区。", "Run a simulated district on this machine."),
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(demo, name="demo")

DataFolder = Annotated[Path, typer.Option("--data", help=say("数据目录", "where the demo keeps its data"))]
ConfigFile = Annotated[
    Path, typer.Option("--config", help=say("配置文件 (TOML)", "configuration file (TOML)"))
]


@demo.callback()
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


@demo.command(help=say("让运行中的演示发生一件事。", "Make something happen in the running demo."))
def scenario(
    name: Annotated[
        str | None, typer.Argument(help=say("情景名；省略则列出", "its name; omit to list them"))
    ] = None,
    data: DataFolder = Path("demo-data"),
) -> None:
    """Make something happen in the running demo."""
    import yemai.demo.app as demo_app  # noqa: PLC0415 - see above

    raise typer.Exit(asyncio.run(demo_app.play(data, name)))


@app.command(help=say("运行边缘代理。", "Run an edge agent."))
def edge(config: ConfigFile) -> None:
    """Run an edge agent."""
    _run_module("edge_agent", config)


@app.command(help=say("运行云端接入。", "Run the cloud ingest."))
def ingest(config: ConfigFile) -> None:
    """Run the cloud ingest."""
    _run_module("cloud_ingest", config)


@app.command(help=say("运行指挥中心。", "Run the command centre."))
def center(config: ConfigFile) -> None:
    """Run the command centre."""
    _run_module("command_center", config)


@app.command(help=say("打印版本号。", "Print the version."))
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def _run_module(module: str, config: Path) -> None:
    sys.argv = [module, "--config", str(config)]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def main() -> None:
    """Run the command; errors that a person can mend are one plain sentence."""
    try:
        app()
    except YemaiError as error:
        typer.echo(f"yemai: {error}", err=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
