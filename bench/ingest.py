"""Ingest as it runs: a real mosquitto, QoS 1, the default rules, commit before acknowledgement.

Everything shares this machine: broker, database, ingest and the fleet that sends.  Capacity is measured on uploads
that wait in the broker, so that the fleet takes nothing from what is measured.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.district import AREA, District
from bench.figure import Figure
from bench.stage import Stage, stores
from simulators.load import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

UPLOADS = 60_000
READINGS, VALUES = 3, 10  # of an upload: 30 values
RUNS = 3
LEAST, AIM = 300_000, 500_000


def run() -> Iterator[Figure]:
    """Measure what one process carries into each store."""
    best: Figure | None = None
    for store in stores():
        rates = [asyncio.run(_drain(store)) for _ in range(RUNS)]
        middle = statistics.median(rates)
        figure = Figure(
            f"ingest_{store}_values_per_s", round(middle), "values/s", RUNS,
            round((max(rates) - min(rates)) / middle, 3), limit=LEAST,
        )  # fmt: skip
        yield figure
        if best is None or figure.value > best.value:
            best = figure
    if best is not None:
        yield Figure("ingest_values_per_s", best.value, "values/s", RUNS, best.spread, limit=LEAST)


async def _drain(store: str) -> float:
    """Return the values a second from the first commit until the store has everything."""
    district = District(3000, 100, ("eastron_sdm630",), VALUES)
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder) / "stage", district, store) as stage:
        stage.start_ingest()  # so that the broker knows whom to keep uploads for
        await asyncio.sleep(1)
        stage.stop_ingest()
        now, order, total = int(time.time() * 1000) - UPLOADS, district.rounds(READINGS), 0
        async with Fleet("127.0.0.1", stage.broker_port, AREA, lambda *_: None) as fleet:
            for start in range(0, UPLOADS, 5000):
                messages = []
                for n in range(start, min(start + 5000, UPLOADS)):
                    name, payload, samples = district.upload(*next(order), now + n)
                    messages.append((name, payload))
                    total += samples
                await fleet.publish(messages)
            while fleet.unacknowledged:
                await asyncio.sleep(0.1)
        began = time.perf_counter()
        stage.start_ingest()
        first = None
        while (stored := await stage.figure("store_samples_total")) < total:
            if first is None and stored:
                first = time.perf_counter(), stored
            if time.perf_counter() - began > 300:
                raise TimeoutError(f"{stored:.0f} of {total} values stored after 300 s")
            await asyncio.sleep(0.1)
        at, had = first or (began, 0.0)
        return (total - had) / (time.perf_counter() - at)
