"""The ingest pipeline without a broker: decode, admit, store in DuckDB, judge, commit."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figure import Figure, measure
from cloud_ingest.config import LedgerConfig, StoreConfig
from cloud_ingest.ledger import Ledger
from cloud_ingest.pipeline import MOST_MESSAGES, Pipeline
from cloud_ingest.registry import Device, Registry
from cloud_ingest.source import Delivery
from cloud_ingest.stores.duckdb import Store
from device_profiles.vocabulary import load_classes
from rules.engine import Engine
from rules.pack import load_packs
from telemetry.clock import SystemClock
from telemetry.codecs import json
from telemetry.readings import AgentId, DeviceId, MetricName, Reading, Upload
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCHES = 10
METRICS = (
    "voltage_l1",
    "voltage_l2",
    "voltage_l3",
    "current_l1",
    "current_l2",
    "current_l3",
    "active_power",
    "frequency",
    "import_energy",
    "power_factor",
)


def run() -> Iterator[Figure]:
    """Measure messages of three meters with ten values each, full batches, commit before acknowledgement."""
    classes, clock = load_classes(), SystemClock()
    devices = {
        f"m{n}": Device(
            f"m{n}", Text("", ""), "energy_meter", "eastron_sdm630", "s", "edge-01", 116.0, 31.0, "", 5.0
        )
        for n in range(900)
    }
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(LedgerConfig(Path(folder) / "ledger.db"))
        store = Store(StoreConfig("duckdb", Path(folder) / "samples.duckdb"), classes)
        pipeline = Pipeline(
            producer="bench", ledger=ledger, store=store, registry=Registry({}, devices), classes=classes,
            engine=Engine(load_packs(), classes), clock=clock,
        )  # fmt: skip
        seq = 0

        def work() -> float:
            nonlocal seq
            for _ in range(BATCHES):
                batch = []
                for _ in range(MOST_MESSAGES):
                    seq += 1
                    now = clock.now_ms() + seq  # each message a moment of its own
                    values: dict[MetricName, float | None] = dict.fromkeys(
                        map(MetricName, METRICS), 1.0 + seq % 50
                    )
                    readings = tuple(
                        Reading(DeviceId(f"m{(3 * seq + n) % 900}"), now, values) for n in range(3)
                    )
                    payload = json.encode(Upload(AgentId("edge-01"), "b", seq, now, readings))
                    batch.append(Delivery("edge-01", "bench", payload, now, None))
                pipeline.process(batch)
            return BATCHES * MOST_MESSAGES * 3 * len(METRICS)

        yield measure("ingest_pipeline_duckdb", "samples/s", work)
        store.close()
        ledger.close()
