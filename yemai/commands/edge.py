"""``yemai edge``."""

from __future__ import annotations

from yemai.commands._part import ConfigFile, group, run_module
from yemai.words import say

app = group("边缘代理。", "The edge agent.")


@app.callback()
def _group() -> None:
    """Keep ``run`` a word of its own while it is the only one."""


@app.command(help=say("运行边缘代理。", "Run an edge agent."))
def run(config: ConfigFile) -> None:
    """Run an edge agent."""
    run_module("edge_agent", config)
