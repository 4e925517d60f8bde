"""``python -m edge_agent --config edge.toml``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from edge_agent import logs
from edge_agent.app import run, stop_on_signals
from edge_agent.config import load_config
from telemetry.errors import ConfigError, Unavailable


async def _main(path: Path) -> None:
    config = load_config(path)
    await run(config, stop=stop_on_signals())


def main() -> int:
    """Run the agent; exit 2 with one sentence for what a person must mend, 1 for what may pass."""
    parser = argparse.ArgumentParser(prog="edge_agent", description="Yemai edge agent · 叶脉边缘代理")
    parser.add_argument("--config", type=Path, required=True, help="edge.toml")
    logs.configure()
    try:
        asyncio.run(_main(parser.parse_args().config))
    except ConfigError as error:
        print(f"edge_agent: {error}", file=sys.stderr)  # noqa: T201 - a command's last word
        return 2
    except Unavailable as error:
        print(f"edge_agent: {error}", file=sys.stderr)  # noqa: T201 - likewise
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
