"""``yemai rules``: what a rule says before it is let at people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yemai.commands._part import group
from yemai.words import say

app = group("告警规则。", "The alarm rules.")
Packs = Annotated[
    list[Path] | None,
    typer.Argument(
        help=say(
            "规则文件或目录；省略则为自带规则", "packs or a folder of them; the shipped ones if left out"
        )
    ),
]


@app.command(
    help=say("检查规则是否有误、有漏、有冲突。", "Look for mistakes, gaps and conflicts in rule packs.")
)
def check(packs: Packs = None) -> None:
    """Print what is wrong or odd; exit 1 where something should not go live."""
    from yemai import rulebook  # noqa: PLC0415 - loads the engine; `yemai --help` should not

    raise typer.Exit(rulebook.check(packs or []))


@app.command("test", help=say("运行规则自带的测试。", "Run the packs' own tests."))
def prove(packs: Packs = None) -> None:
    """Print each test that did not come out as written; exit 1 where there is one."""
    from yemai import rulebook  # noqa: PLC0415 - see above

    raise typer.Exit(rulebook.test(packs or []))


@app.command(
    help=say(
        "用历史数据检验规则：会告警多少次、多久。",
        "Run a pack over history: how often, how long it would have alarmed.",
    )
)
def backtest(
    pack: Annotated[str, typer.Argument(help=say("规则文件，或类别名", "a pack, or the class of a shipped one"))],
    begin: Annotated[str, typer.Option("--from", help=say("开始日期 (北京时间)", "first day (Beijing time)"))],
    end: Annotated[str, typer.Option("--to", help=say("结束日期 (不含)", "the day after the last"))],
    config: Annotated[Path | None, typer.Option(help=say("接入配置 (TOML)：直接读存储", "ingest.toml: read its store"))] = None,
    api: Annotated[str, typer.Option(help=say("数据接口地址", "address of the data API, while ingest runs"))] = "",
    token_file: Annotated[Path | None, typer.Option(help=say("接口令牌文件", "file with the API's token"))] = None,
    device: Annotated[list[str] | None, typer.Option(help=say("只看这些设备", "these devices alone"))] = None,
    limit: Annotated[list[float] | None, typer.Option(help=say("试算的阈值", "limits to try"))] = None,
    plot: Annotated[Path | None, typer.Option(help=say("图形文件 (SVG)", "write a picture (SVG)"))] = None,
    json: Annotated[bool, typer.Option("--json", help=say("结果为一个 JSON 对象", "print one JSON object"))] = False,
) -> None:  # fmt: skip
    """Print what a pack would have said of the past."""
    from yemai import backtesting  # noqa: PLC0415 - see above

    token = token_file.read_text(encoding="utf-8").strip() if token_file else ""
    asked = backtesting.Asked(pack, begin, end, config, api, token, device or [], limit or [], plot, json)
    raise typer.Exit(backtesting.run(asked))
