"""How long the panels of the boards take over a year of data in InfluxDB 1.6, and how much data that is.

A year of 1,000 devices at their real pace is more than this machine holds; here the year is whole, and devices and pace
are what ``BOARDS_DEVICES`` (100) and ``BOARDS_STEP_MIN`` (30) say: 1,000 at 60 are what a store down-sampled to hours holds.
``BOARDS_RUNS`` (3) is how often each panel is asked.  Printed beside the times is how much the panels lay over.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.district import District
from bench.figure import Figure
from bench.stage import Stage, stores
from cloud_ingest.stores import influxdb
from dashboards.generate import generate
from dashboards.look import Look
from device_profiles.loading import load_catalogue
from device_profiles.vocabulary import load_classes
from rules.frame import Frame
from telemetry.quality import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICES, AGENTS, DAYS = int(os.environ.get("BOARDS_DEVICES", "100")), 10, 365
STEP_MS = int(os.environ.get("BOARDS_STEP_MIN", "30")) * 60_000
RUNS = int(os.environ.get("BOARDS_RUNS", "3"))
_DAY_MS = 86_400_000
_END = 1_764_000_000_000
_RANGES = {"day": 1, "month": 30, "year": DAYS}
_COLUMN_PX = 78
"""A twenty-fourth of a screen 1,920 pixels wide; a panel has as many intervals as pixels, unless it says less."""
_ROUND = (
    (1.5, 1), (3.5, 2), (7.5, 5), (12.5, 10), (17.5, 15), (25, 20), (45, 30), (90, 60), (210, 120), (450, 300), (750, 600),
    (1050, 900), (1500, 1200), (2700, 1800), (5400, 3600), (9000, 7200), (16_200, 10_800), (32_400, 21_600),
    (86_400, 43_200), (604_800, 86_400), (1_814_400, 604_800),
)  # fmt: skip
"""How Grafana rounds an interval: below so many seconds it takes so many."""
_BOARDS = ("overview", "site", "class", "device")


def run() -> Iterator[Figure]:
    """Fill a year, then ask every panel's queries, cold panels and warm ones alike."""
    if "influxdb16" not in stores():
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        Stage(Path(folder) / "stage", District(1, 1), "influxdb16") as stage,
    ):
        classes, points, samples = _fill(stage.store_url)
        yield Figure("boards_points", points, "points", 1, 0.0)
        yield Figure("boards_samples", samples, "samples", 1, 0.0)
        kept = sum(
            path.stat().st_size
            for part in ("data", "wal")
            for path in (stage.folder / part).rglob("*")
            if path.is_file()
        )
        yield Figure("boards_store_bytes_per_sample", round(kept / samples, 2), "B", 1, 0.0)
        targets = list(_targets(classes))
        yield from _asked(stage.store_url, targets)


def _asked(url: str, targets: list[Target]) -> Iterator[Figure]:
    for name, days in _RANGES.items():
        span = _END - days * _DAY_MS, _END
        yield from _told(
            name, [(_panel_ms(url, target, span), target.kind, target.title) for target in targets]
        )


def _told(name: str, took: list[tuple[float, str, str]]) -> Iterator[Figure]:
    """Yield p50, p95 and the slowest of all panels, then p95 of each kind of board with its slowest panel's title."""
    every = sorted(took)
    spread = round((every[-1][0] - every[0][0]) / statistics.median(ms for ms, *_ in every), 3)
    for place, word in ((0.5, "p50"), (0.95, "p95"), (1, "max")):
        ms, kind, title = every[int(place * (len(every) - 1))]
        yield Figure(
            f"boards_panel_{word}_ms_{name}", round(ms, 1), "ms", RUNS, spread, size=f"{kind}: {title}"
        )
    for board in _BOARDS:
        mine = [one for one in every if one[1] == board]
        ms = mine[int(0.95 * (len(mine) - 1))][0]
        slowest = f"of {len(mine)} panels; slowest {mine[-1][0]:.0f} ms: {mine[-1][2]}"
        yield Figure(f"boards_{board}_p95_ms_{name}", round(ms, 1), "ms", RUNS, spread, size=slowest)


def _fill(url: str) -> tuple[set[str], int, int]:
    district, classes, catalogue = District(DEVICES, AGENTS), load_classes(), load_catalogue()
    store = influxdb.Store(
        influxdb.Config(url, "yemai"), classes,
        lambda name: {"area": "bench", "street": f"r{int(name[1:]) % 4}", "site": f"s{int(name[1:]) % 20:02}"},
    )  # fmt: skip
    rng, points, samples = np.random.default_rng(7), 0, 0
    by_profile: dict[str, list[str]] = {}
    for device in district.devices:
        by_profile.setdefault(device.profile.id, []).append(device.id)
    week = 7 * _DAY_MS
    for start in range(_END - DAYS * _DAY_MS, _END, week):
        times = np.arange(start, min(start + week, _END), STEP_MS, dtype=np.int64)
        for profile, devices in by_profile.items():
            of = classes[catalogue[profile].device_class]
            spoken = np.array([name in catalogue[profile].metrics for name in of.metrics])
            n = len(times) * len(devices)
            low = np.array([metric.low for metric in of.metrics.values()])
            high = np.array([metric.high for metric in of.metrics.values()])
            values = np.where(spoken, np.round(low + rng.random((n, len(low))) * (high - low), 2), np.nan)
            quality = np.where(spoken, 0, ABSENT).astype(np.uint8) + np.zeros((n, 1), np.uint8)
            index = np.repeat(np.arange(len(devices), dtype=np.int32), len(times))
            frame = Frame(
                of.name,
                tuple(devices),
                index,
                np.tile(times, len(devices)),
                values,
                quality,
                np.zeros(n, np.int64),
            )
            samples += store.write([frame], [[1] * n], _END).samples
            points += n
    store.close()
    return {catalogue[profile].device_class for profile in by_profile}, points, samples


class Target(NamedTuple):
    """A panel: its kind of board, its title, how many intervals it has at most, how long one is at least, its queries."""

    kind: str
    title: str
    most: int
    least_s: float
    queries: list[str]

    def interval_s(self, span_s: float) -> float:
        """Return the interval that Grafana takes."""
        exact = span_s / self.most
        return max(self.least_s, next((told for below, told in _ROUND if exact < below), 30 * 86_400))


def _targets(classes: set[str]) -> Iterator[Target]:
    """Return each panel of the boards whose classes are there."""
    for uid, board in generate(Look("en")).items():
        kind, _, name = uid.removeprefix("yemai-en-").partition("-")
        if kind not in _BOARDS or (name and name not in classes):
            continue
        one = {"device": "d0000.0", "site": "s07"}
        chosen = {kind: one[kind]} if kind in one else {}
        for row in board["panels"]:
            for panel in (row, *row.get("panels", ())):
                queries = [target["query"] for target in panel.get("targets", ()) if "query" in target]
                if queries:
                    asked = [
                        re.sub(r"\$\{(\w+):regex\}", lambda found: chosen.get(found[1], ".*"), query)  # noqa: B023
                        for query in queries
                    ]
                    most = panel.get("maxDataPoints") or panel["gridPos"]["w"] * _COLUMN_PX
                    least = float(panel.get("interval", "1s").removesuffix("s"))
                    yield Target(kind, panel["title"], int(most), least, asked)


def _panel_ms(url: str, target: Target, span: tuple[int, int]) -> float:
    took, interval = [], f"{round(target.interval_s((span[1] - span[0]) / 1000))}s"
    for _ in range(RUNS):
        began = time.perf_counter()
        for query in target.queries:
            told = query.replace("$timeFilter", f"time >= {span[0]}ms AND time <= {span[1]}ms")
            _ask(url, told.replace("$__interval", interval))
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def _ask(url: str, query: str) -> dict[str, Any]:
    fields = urllib.parse.urlencode({"db": "yemai", "q": query, "epoch": "ms"})
    with urllib.request.urlopen(f"{url}/query?{fields}", timeout=120) as answer:
        told: dict[str, Any] = json.load(answer)
    if "error" in told["results"][0]:
        raise ValueError(told["results"][0]["error"])
    return told
