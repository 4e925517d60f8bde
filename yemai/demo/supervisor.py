"""Starts processes in order, starts them again when they die, and stops them in reverse order.

Each process writes to a log file of its own.  A child dies with its supervisor (Linux
``PR_SET_PDEATHSIG``), so that a killed demo leaves nothing behind that holds its ports or files.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Self

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path
    from types import TracebackType

_PR_SET_PDEATHSIG = 1  # prctl(2)
_FIRST_RESTART_S, _LONGEST_RESTART_S = 0.5, 10.0
_STEADY_S = 30.0  # a process that ran this long starts again without delay


@dataclass(frozen=True)
class Service:
    """One process to keep running.

    ``ready`` answers whether it serves; ``stop_s`` is how long SIGTERM may take before SIGKILL.
    """

    name: str
    command: Sequence[str]
    ready: Callable[[], Awaitable[bool]] | None = None
    stop_s: float = 10.0


@dataclass
class _Running:
    service: Service
    process: asyncio.subprocess.Process | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)
    starts: int = 0

    def __post_init__(self) -> None:
        self.released.set()


class Supervisor:
    """``async with Supervisor(services, logs=…) as supervisor`` runs them until the block ends.

    Raises :class:`Unavailable` when one does not become ready in ``start_s`` seconds.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        logs: Path,
        start_s: float = 60.0,
        on_exit: Callable[[str, int], None] = lambda _name, _code: None,
    ) -> None:
        self._running = {service.name: _Running(service) for service in services}
        self._logs, self._start_s, self._on_exit = logs, start_s, on_exit
        self._stopping = False
        self._watchers: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        try:
            for name, running in self._running.items():
                self._watchers[name] = asyncio.create_task(self._watch(running), name=f"watch {name}")
                await self._until_ready(running)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def starts(self, name: str) -> int:
        """Return how often a process was started; more than once means that it died."""
        return self._running[name].starts

    def names(self) -> tuple[str, ...]:
        """Return the names of all processes, in starting order."""
        return tuple(self._running)

    async def kill(self, name: str, hold_s: float) -> None:
        """SIGKILL one process and keep it dead for ``hold_s`` seconds; return when it serves again."""
        running = self._running[name]
        running.released.clear()
        if running.process is not None and running.process.returncode is None:
            running.process.kill()
            await running.process.wait()
        try:
            await asyncio.sleep(hold_s)
        finally:
            running.released.set()
        await self._until_ready(running)

    async def terminate(self, name: str) -> None:
        """Stop one process for good: SIGTERM, and SIGKILL when it does not listen."""
        watcher = self._watchers.pop(name, None)
        if watcher is not None:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def stop(self) -> None:
        """Stop all of them, the last started first."""
        self._stopping = True
        for name in reversed(self._running):
            await self.terminate(name)

    async def _until_ready(self, running: _Running) -> None:
        ready = running.service.ready
        if ready is None:
            return
        try:
            async with asyncio.timeout(self._start_s):
                while not await ready():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            log = self._logs / f"{running.service.name}.log"
            raise Unavailable(
                f"'{running.service.name}' did not come up in {self._start_s:.0f} s; its last words in {log}: {_tail(log)}"
            ) from None

    async def _watch(self, running: _Running) -> None:
        delay = _FIRST_RESTART_S
        clock = asyncio.get_running_loop().time
        with (self._logs / f"{running.service.name}.log").open("ab") as log:
            while True:
                await running.released.wait()
                started = clock()
                code = await self._run(running, log)
                self._on_exit(running.service.name, code)
                if running.released.is_set():
                    delay = (
                        _FIRST_RESTART_S
                        if clock() - started > _STEADY_S
                        else min(delay * 2, _LONGEST_RESTART_S)
                    )
                    await asyncio.sleep(delay)

    async def _run(self, running: _Running, log: IO[bytes]) -> int:
        process = await asyncio.create_subprocess_exec(
            *running.service.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C reaches the supervisor alone, which then stops them in order
            preexec_fn=_die_with_parent,
        )
        running.process = process
        running.starts += 1
        try:
            return await process.wait()
        except asyncio.CancelledError:
            await _end(process, running.service.stop_s)
            raise


async def _end(process: asyncio.subprocess.Process, within_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == 1:  # the parent died in between
            os._exit(1)


def _tail(log: Path, size: int = 400) -> str:
    with contextlib.suppress(OSError):
        return log.read_bytes()[-size:].decode(errors="replace").strip() or "(none)"
    return "(none)"
