"""``python -m cloud_ingest --config ingest.toml``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from cloud_ingest.app import run
from cloud_ingest.config import load_config
from telemetry.process import run_with_config


async def _run(path: Path, stop: asyncio.Event) -> None:
    await run(load_config(path), stop=stop)


if __name__ == "__main__":
    sys.exit(
        run_with_config("cloud_ingest", "Yemai cloud ingest · 叶脉云端接入", _run, uvloop.new_event_loop)
    )
