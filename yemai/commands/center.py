"""``yemai center``."""

from __future__ import annotations

from yemai.commands._part import ConfigFile, group, run_module
from yemai.words import say

app = group("指挥中心。", "The command centre.")


@app.callback()
def _group() -> None:
    """Keep ``run`` a word of its own while it is the only one."""


@app.command(help=say("运行指挥中心。", "Run the command centre."))
def run(config: ConfigFile) -> None:
    """Run the command centre."""
    run_module("command_center", config)
