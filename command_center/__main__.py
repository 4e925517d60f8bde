"""``python -m command_center --config center.toml``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from command_center.app import run
from command_center.config import load_config
from telemetry.process import run_with_config


async def _run(path: Path, stop: asyncio.Event) -> None:
    await run(load_config(path), stop=stop)


if __name__ == "__main__":
    sys.exit(run_with_config("command_center", "Yemai command centre · 叶脉指挥中心", _run))
