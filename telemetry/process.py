"""What every Yemai process does alike: logs, stop signals, and its last word.

structlog is imported when a process configures it, so that the shared language itself stays small.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.config_lines import with_lines
from telemetry.errors import ConfigError, YemaiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def configure_logs() -> None:
    """Set up structlog: one line an event, for people on a terminal and as JSON everywhere else.

    Foreign libraries' own loggers are silent: what they find is raised, mapped and logged here.
    """
    import structlog  # noqa: PLC0415 - see the module's head

    logging.basicConfig(level=logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer()
            if sys.stderr.isatty()
            else structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def stop_on_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    return stop


def run_with_config(
    name: str,
    about: str,
    run: Callable[[Path, asyncio.Event], Awaitable[None]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> int:
    """Run ``NAME --config FILE`` until it is told to stop; return its exit code.

    2 with one sentence for what a person must mend, 1 for what may pass by itself.  Any other exception is
    ours: it ends the process with its traceback.
    """
    parser = argparse.ArgumentParser(prog=name, description=about)
    parser.add_argument("--config", type=Path, required=True, help="TOML")
    path = parser.parse_args().config
    configure_logs()

    async def main() -> None:
        await run(path, stop_on_signals())

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())
    except (YemaiError, BaseExceptionGroup) as raised:
        error: BaseException = raised
        while isinstance(error, BaseExceptionGroup):  # a task group may hold others; the first came first
            error = error.exceptions[0]
        if not isinstance(error, YemaiError):
            raise
        if isinstance(error, ConfigError):
            sys.stderr.write(f"{name}: {with_lines(error)}\n")
            return 2
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    return 0
