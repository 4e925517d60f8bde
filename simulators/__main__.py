"""``python -m simulators --run-file RUN.json [--district FILE] [--seed N]``."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

import msgspec

from simulators.app import RunPlan, serve
from simulators.district import load_district
from telemetry.config import convert
from telemetry.errors import ConfigError
from telemetry.process import stop_on_signals


async def _main(options: argparse.Namespace) -> None:
    path: Path = options.run_file
    try:
        raw = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(path, "$", f"cannot be read: {error}") from None
    plan = convert(raw, RunPlan, file=path)
    if options.seed is not None:
        plan = msgspec.structs.replace(plan, seed=options.seed)
    await serve(load_district(options.district), plan, stop=stop_on_signals())


def main() -> int:
    """Serve the district; exit 2 with one sentence for what a person must mend, 1 for a port in use."""
    parser = argparse.ArgumentParser(prog="simulators", description="A simulated district · 模拟城区")
    parser.add_argument("--run-file", type=Path, required=True, help="which bus is where (JSON)")
    parser.add_argument("--district", type=Path, default=None, help="another district (YAML)")
    parser.add_argument("--seed", type=int, default=None, help="another seed than the run file's")
    try:
        asyncio.run(_main(parser.parse_args()))
    except ConfigError as error:
        print(f"simulators: {error}", file=sys.stderr)  # noqa: T201 - a command's last word
        return 2
    except OSError as error:
        print(f"simulators: {error}", file=sys.stderr)  # noqa: T201 - likewise
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
