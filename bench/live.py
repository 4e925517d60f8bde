"""A live district: uploads at an even pace, and how long each took to be committed and to become an alarm."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np

from bench.district import AREA, FIRE
from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.readings import Ack
from telemetry.transitions import AlarmMessage, Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.district import District, Past
    from simulators.load import Fleet

_TURN_S = (
    0.005  # so small are the handfuls that messages are sent in: they must not beat with the turns of ingest
)
_FIRES_A_SECOND = 5
_SETTLE_S = 30.0


class Live:
    """Plays the agents of a district over one connection, and the desk that takes alarms.

    :param a_second: uploads a second in all, one reading each.
    :param backlog: for each agent, uploads that wait; ``window`` of an agent's are on their way at once.
    :param without: the agent that somebody else plays; the others send as much as they would beside it.
    """

    def __init__(
        self,
        district: District,
        a_second: int,
        backlog: Sequence[Past],
        window: int = 0,
        *,
        without: int = -1,
    ) -> None:
        self._district, self._a_second, self._without = district, a_second, without
        self._backlog, self._window = backlog, window
        self._places = {name: n for n, name in enumerate(district.agents)}
        self._sent: list[dict[int, float]] = [{} for _ in district.agents]
        self._lit: dict[str, float] = {}
        self._old = [set[int]() for _ in district.agents]
        self._refill = set(range(len(district.agents))) if window else set[int]()
        self.fleet: Fleet
        self.commit_s: list[float] = []
        """From publish to committed."""
        self.alarm_s: list[float] = []
        self.samples = 0

    def received(self, topic: str, payload: bytes) -> None:
        """Take what the platform says."""
        now = time.perf_counter()
        if topic.endswith("/ack"):
            agent = self._places[topic.split("/")[3]]
            for first, last in codecs.decode(payload, Ack, max_bytes=1 << 20).ranges:
                self._committed(agent, first, last, now)
            return
        told = codecs.decode(payload, AlarmMessage, max_bytes=1 << 20)
        if not told.seq:
            return
        self.fleet.send(
            topics.alarm_ack(AREA, "center"), json.encode(Ack(told.boot, ((told.seq, told.seq),)))
        )
        if told.transition.change is Change.BEGAN and (lit := self._lit.pop(told.transition.device, None)):
            self.alarm_s.append(now - lit)

    def _committed(self, agent: int, first: int, last: int, now: float) -> None:
        mine = self._sent[agent]
        self.commit_s += [now - mine.pop(seq) for seq in [seq for seq in mine if first <= seq <= last]]
        old = self._old[agent]
        if old:
            gone = {seq for seq in old if first <= seq <= last}
            old -= gone
            if gone:
                self._refill.add(agent)

    async def run(self, seconds: float, until_drained: bool = False) -> float:  # noqa: FBT001, FBT002
        """Send for so long (or until the backlog is gone); return how long it took until all was committed."""
        order, began = self._district.rounds(1), time.perf_counter()
        sent = fires = 0
        while (passed := time.perf_counter() - began) < seconds and not (until_drained and self.drained):
            messages = []
            while sent < passed * self._a_second:
                agent, devices = next(order)
                sent += 1
                if agent == self._without:
                    continue
                fire = fires < passed * _FIRES_A_SECOND and self._can_burn(devices[0])
                fires += fire
                messages.append(self._upload(agent, devices, fire=fire))
            messages += self._history()
            await self.fleet.publish(messages)
            await asyncio.sleep(_TURN_S)
        took = time.perf_counter() - began
        await self._settle()
        return took

    @property
    def drained(self) -> bool:
        """Whether nothing of the backlog is left."""
        return not any(self._old) and not any(self._backlog)

    def _can_burn(self, device: int) -> bool:
        it = self._district.devices[device]
        return FIRE[0] in it.quiet and it.profile.device_class == "ev_charger" and it.id not in self._lit

    def _upload(self, agent: int, devices: list[int], *, fire: bool) -> tuple[str, bytes]:
        name, payload, samples = self._district.upload(agent, devices, int(time.time() * 1000), fire=fire)
        now = time.perf_counter()
        self._sent[agent][self._district.last_seq(agent)] = now
        if fire:
            self._lit[self._district.devices[devices[0]].id] = now
        self.samples += samples
        return name, payload

    def _history(self) -> list[tuple[str, bytes]]:
        messages = []
        for agent in self._refill:
            old, waiting = self._old[agent], self._backlog[agent]
            while waiting and len(old) < self._window:
                seq, payload = waiting.popleft()
                old.add(seq)
                messages.append((self._district.agents[agent], payload))
        self._refill.clear()
        return messages

    async def _settle(self) -> None:
        deadline = time.perf_counter() + _SETTLE_S
        while any(self._sent) and time.perf_counter() < deadline:
            await asyncio.sleep(_TURN_S)
        left = sum(map(len, self._sent))
        if left:
            raise TimeoutError(f"{left} uploads were not acknowledged within {_SETTLE_S:.0f} s")


def percentile_ms(seconds: list[float], percent: float) -> float:
    """Return a percentile of durations, in ms."""
    return round(float(np.percentile(seconds, percent)) * 1000, 1)
