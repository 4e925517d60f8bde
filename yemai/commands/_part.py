"""What the words that run a part have in common."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer

from yemai.words import say

ConfigFile = Annotated[
    Path, typer.Option("--config", help=say("配置文件 (TOML)", "configuration file (TOML)"))
]


def group(zh: str, en: str) -> typer.Typer:
    """Return the group of commands of one part."""
    return typer.Typer(help=say(zh, en), no_args_is_help=True, rich_markup_mode=None)


def run_module(module: str, config: Path) -> None:
    """Run a part as ``python -m`` does."""
    sys.argv = [module, "--config", str(config)]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
