"""Ingest as it runs: a real mosquitto, QoS 1, the default rules, commit before acknowledgement.

Everything shares this machine: broker, database, ingest and the fleet that sends.  Capacity is measured on uploads
that wait in the broker, so that the fleet takes nothing from what is measured; ``…_per_core_s`` divides by the
processor time that ingest used, which says the same on a busy machine as on a quiet one.

The environment sets the size: ``BENCH_DISTRICT_S`` (seconds, 600 is the whole), ``BENCH_BACKLOG_VALUES``
(72000000 is an hour of the district), ``BENCH_ONLY`` (of ``stores``, ``growth``, ``district``, ``abuse``, ``backlog``).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.abuser import Abuser
from bench.district import AREA, District
from bench.figure import Figure
from bench.live import Live, percentile_ms
from bench.stage import Memory, Stage, stores
from simulators.load import Fleet
from telemetry import topics

if TYPE_CHECKING:
    from collections.abc import Iterator

UPLOADS = 60_000
READINGS, VALUES = 3, 10  # of an upload: 30 values
RUNS = 3
LEAST, AIM = 300_000, 500_000
GROWTH = (1_000, 10_000, 100_000)
DEVICES, AGENTS, A_SECOND = 20_000, 200, 2000
DISTRICT_S = float(os.environ.get("BENCH_DISTRICT_S", "60"))
BACKLOG_VALUES = int(os.environ.get("BENCH_BACKLOG_VALUES", "3600000"))
ABUSES = 9
WINDOW = 32
"""Old uploads of one agent on their way at once: half of an agent's window."""


class Drained(NamedTuple):
    """How fast a backlog in the broker was taken."""

    a_second: float
    a_core_second: float
    rss: int


def run() -> Iterator[Figure]:
    """Measure everything, or what ``BENCH_ONLY`` names."""
    parts = {
        "stores": _stores,
        "growth": _growth,
        "district": _district,
        "abuse": _abuse,
        "backlog": _backlog,
    }
    for name in os.environ.get("BENCH_ONLY", " ".join(parts)).split():
        yield from parts[name]()


def _stores() -> Iterator[Figure]:
    best: Figure | None = None
    for store in stores():
        runs = [_drain(store, 3000) for _ in range(RUNS)]
        figure = _median(f"ingest_{store}_values_per_s", [each.a_second for each in runs], limit=LEAST)
        yield figure
        yield _median(f"ingest_{store}_values_per_core_s", [each.a_core_second for each in runs], limit=AIM)
        if best is None or figure.value > best.value:
            best = figure
    if best is not None:
        yield Figure("ingest_values_per_s", best.value, "values/s", RUNS, best.spread, limit=LEAST)


def _growth() -> Iterator[Figure]:
    store = stores()[-1]  # a server of its own, so that ingest's memory is ingest's
    first: Drained | None = None
    for devices in GROWTH:
        found = _drain(store, devices)
        yield Figure(
            f"ingest_{devices}_devices_values_per_core_s", round(found.a_core_second), "values/s", 1, 0.0
        )
        first = first or found
        if found is not first:
            each = (found.rss - first.rss) / (devices - GROWTH[0])
            yield Figure(f"ingest_{devices}_devices_bytes_per_device", round(each), "bytes", 1, 0.0)


def _district() -> Iterator[Figure]:
    size = f"{DEVICES} devices, {A_SECOND} messages/s, {DISTRICT_S:g} s"
    district = District(DEVICES, AGENTS)
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder) / "s", district, stores()[-1]) as stage:
        ingest = stage.start_ingest()
        live = Live(district, A_SECOND, [])
        asyncio.run(_play(stage, live, 10))  # every device has been heard once
        live.commit_s.clear()
        live.alarm_s.clear()
        used, before = sum(ingest.cpu_times()[:2]), live.samples
        with Memory(ingest) as memory:
            took = asyncio.run(_play(stage, live, DISTRICT_S))
        share = (sum(ingest.cpu_times()[:2]) - used) / took
    for name, values in (("commit", live.commit_s), ("alarm", live.alarm_s)):
        for percent in (50, 99):
            limit = 500.0 if percent == 99 else None
            yield Figure(
                f"district_{name}_p{percent}_ms", percentile_ms(values, percent), "ms", len(values), 0.0,
                limit=limit, size=size,
            )  # fmt: skip
    yield Figure(
        "district_values_per_s", round((live.samples - before) / took), "values/s", 1, 0.0, size=size
    )
    yield Figure("district_cpu_share", round(share, 3), "cores", 1, 0.0, limit=0.25, size=size)
    yield from _memory("district", memory, size)


def _abuse() -> Iterator[Figure]:
    """What one agent at a hundred times its rate costs the others: turns with it, each between two without it."""
    rate, turn_s = A_SECOND // AGENTS, DISTRICT_S / 10
    district = District(DEVICES, AGENTS)
    found: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder) / "s", district, stores()[-1]) as stage:
        stage.start_ingest()
        live = Live(district, A_SECOND, [], without=0)
        with Abuser(stage.broker_port, DEVICES, AGENTS, rate) as abuser:
            asyncio.run(_play(stage, live, 10))
            for turn in range(2 * ABUSES + 1):
                live.commit_s.clear()
                abuser.a_second.value = rate * (100 if turn % 2 else 1)
                asyncio.run(_play(stage, live, turn_s))
                found.append(percentile_ms(live.commit_s, 99))
    quiet = [(before + after) / 2 for before, after in zip(found[::2], found[2::2], strict=False)]
    ratios = [with_it / without for with_it, without in zip(found[1::2], quiet, strict=True)]
    size = f"{AGENTS - 1} agents at {rate}/s, one at {100 * rate}/s, {len(found)} turns of {turn_s:g} s"
    yield Figure(
        "abusive_agent_others_p99_ms", statistics.median(found[1::2]), "ms", ABUSES, _spread(found[1::2]),
        peer=statistics.median(quiet), size=size,
    )  # fmt: skip
    middle = round(statistics.median(ratios), 3)
    yield Figure("abusive_agent_p99_ratio", middle, "", ABUSES, _spread(ratios), limit=1.1, size=size)


def _backlog() -> Iterator[Figure]:
    district = District(DEVICES, AGENTS)
    each, now = BACKLOG_VALUES // (READINGS * VALUES * AGENTS), int(time.time() * 1000)
    waiting = [district.past(n, each, READINGS, (now - 3_600_000, now - 61_000)) for n in range(AGENTS)]
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder) / "s", district, stores()[-1]) as stage:
        ingest = stage.start_ingest()
        live = Live(district, A_SECOND, waiting, WINDOW)
        with Memory(ingest) as memory:
            took = asyncio.run(_play(stage, live, 3600, until_drained=True))
    total = sum(past.samples for past in waiting)
    size = f"{total} values behind {AGENTS} agents, {A_SECOND} live messages/s, {took:.0f} s"
    yield Figure(
        "backlog_live_p50_ms", percentile_ms(live.commit_s, 50), "ms", len(live.commit_s), 0.0, size=size
    )
    yield Figure(
        "backlog_live_p99_ms", percentile_ms(live.commit_s, 99), "ms", len(live.commit_s), 0.0, size=size
    )
    yield Figure(
        "backlog_alarm_p99_ms", percentile_ms(live.alarm_s, 99), "ms", len(live.alarm_s), 0.0, size=size
    )
    yield Figure("backlog_drain_values_per_s", round(total / took), "values/s", 1, 0.0, size=size)
    yield from _memory("backlog", memory, size)


def _memory(of: str, memory: Memory, size: str) -> Iterator[Figure]:
    yield Figure(f"{of}_rss_mb", memory.most_mb, "MB", len(memory.rss), 0.0, size=size)
    yield Figure(f"{of}_rss_growth_mb", memory.growth_mb, "MB", len(memory.rss), 0.0, size=size)


async def _play(stage: Stage, live: Live, seconds: float, *, until_drained: bool = False) -> float:
    async with Fleet("127.0.0.1", stage.broker_port, AREA, live.received) as fleet:
        live.fleet = fleet
        await fleet.subscribe(topics.ack(AREA, "+"), topics.alarm(AREA, "+"))
        return await live.run(seconds, until_drained)


def _drain(store: str, devices: int) -> Drained:
    """Return the values a second from when every device was committed once until the store has everything.

    What a device costs when it is heard for the first time (its series, its tags, its places) is not what a district costs.
    """
    district = District(devices, 100, ("eastron_sdm630",), VALUES)
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder) / "stage", district, store) as stage:
        stage.start_ingest()  # so that the broker knows whom to keep uploads for
        stage.stop_ingest()
        total = asyncio.run(_queue(stage, district, max(UPLOADS, 2 * devices)))
        began = time.perf_counter()
        ingest = stage.start_ingest()
        first = None
        while (stored := stage.figure("store_samples_total")) < total:
            committed = stage.figure("messages_total") * READINGS * VALUES
            if first is None and committed >= devices * VALUES:
                first = time.perf_counter(), sum(ingest.cpu_times()[:2]), committed
            if time.perf_counter() - began > 300:
                raise TimeoutError(f"{stored:.0f} of {total} values stored after 300 s")
            time.sleep(0.1)
        at, used, had = first or (began, 0.0, 0.0)
        took, cost = time.perf_counter() - at, sum(ingest.cpu_times()[:2]) - used
        return Drained((total - had) / took, (total - had) / cost, ingest.memory_info().rss)


async def _queue(stage: Stage, district: District, uploads: int) -> int:
    now, order, total = int(time.time() * 1000) - uploads, district.rounds(READINGS), 0
    async with Fleet("127.0.0.1", stage.broker_port, AREA, lambda *_: None) as fleet:
        for start in range(0, uploads, 5000):
            messages = []
            for n in range(start, min(start + 5000, uploads)):
                name, payload, samples = district.upload(*next(order), now + n)
                messages.append((name, payload))
                total += samples
            await fleet.publish(messages)
        while fleet.unacknowledged:
            await asyncio.sleep(0.1)
    return total


def _median(name: str, values: list[float], **beside: Any) -> Figure:
    return Figure(name, round(statistics.median(values)), "values/s", len(values), _spread(values), **beside)


def _spread(values: list[float]) -> float:
    return round((max(values) - min(values)) / statistics.median(values), 3)
