"""An agent that may send far beyond its share, in a process of its own.

Were it played by the one that measures the others, what its messages cost there would count as the others' delay.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from typing import TYPE_CHECKING, Self

from bench.district import AREA, District
from simulators.load import Fleet

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

_TURN_S = 0.005


class Abuser:
    """Plays agent 0 of a district of ``devices`` behind ``agents``; ``a_second.value`` is how many uploads it sends."""

    def __init__(self, port: int, devices: int, agents: int, a_second: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.a_second: Synchronized[float] = context.Value("d", a_second)
        self._process = context.Process(target=_run, args=(port, devices, agents, self.a_second))

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        ended = self._process.exitcode
        self._process.terminate()
        self._process.join()
        if ended is not None:
            raise RuntimeError(f"the abusive agent ended by itself with code {ended}: nothing was measured")


def _run(port: int, devices: int, agents: int, a_second: Synchronized[float]) -> None:
    asyncio.run(_send(port, District(devices, agents), range(0, devices, agents), a_second))


async def _send(port: int, district: District, mine: range, a_second: Synchronized[float]) -> None:
    sent, owed, before = 0, 0.0, time.perf_counter()
    async with Fleet("127.0.0.1", port, AREA, lambda *_: None, name="abuser") as fleet:
        while True:
            now = time.perf_counter()
            owed, before = owed + (now - before) * a_second.value, now
            messages = []
            for _ in range(int(owed)):
                name, payload, _ = district.upload(0, [mine[sent % len(mine)]], int(time.time() * 1000))
                messages.append((name, payload))
                sent += 1
            owed -= len(messages)
            await fleet.publish(messages)
            await asyncio.sleep(_TURN_S)
