"""``yemai ingest``."""

from __future__ import annotations

from yemai.commands._part import ConfigFile, group, run_module
from yemai.words import say

app = group("云端接入。", "Cloud ingest.")


@app.callback()
def _group() -> None:
    """Keep ``run`` a word of its own while it is the only one."""


@app.command(help=say("运行云端接入。", "Run the cloud ingest."))
def run(config: ConfigFile) -> None:
    """Run the cloud ingest."""
    run_module("cloud_ingest", config)
