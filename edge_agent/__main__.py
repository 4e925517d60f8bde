"""``python -m edge_agent --config edge.toml``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from edge_agent.app import run
from telemetry.process import run_with_config


async def _run(path: Path, stop: asyncio.Event) -> None:
    await run(path, stop=stop)


if __name__ == "__main__":
    sys.exit(run_with_config("edge_agent", "Yemai edge agent · 叶脉边缘代理", _run))
