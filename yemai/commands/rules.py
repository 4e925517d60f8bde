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
