"""A small registry, a pipeline without a broker, and ingest as a real process."""

import asyncio
import sys

from cloud_ingest.config import LedgerConfig
from cloud_ingest.guarded import Guarded
from cloud_ingest.ledger import Ledger
from cloud_ingest.metrics import Metrics
from cloud_ingest.pipeline import Pipeline
from cloud_ingest.reader import LedgerReader
from cloud_ingest.registry import load_registry
from cloud_ingest.source import Delivery
from cloud_ingest.stores import duckdb
from cloud_ingest.writer import StoreWriter
from device_profiles.vocabulary import load_classes
from rules.engine import Engine
from rules.pack import load_packs
from telemetry.codecs import json
from telemetry.faults import Faults
from telemetry.readings import Reading, Upload
from telemetry.testing import ManualClock

SITES = "site,name_zh,name_en,street,lon,lat,department\ns01,甲站,Site A,甲路,115.92,31.85,市政\n"
DEVICES = (
    "device,name_zh,name_en,profile,agent,site,lon,lat,owner\n"
    "noise-01,噪声,Noise,sonbest_sm7901b,edge-01,s01,115.92,31.85,市政\n"
    "smoke-01,感烟,Smoke,calectro_uniguard,edge-01,s01,115.92,31.85,消防\n"
    "chg-01,充电桩,Charger,heidelberg_energy_control,edge-02,s01,115.92,31.85,供电\n"
    "soil-01,土壤,Soil,cwt_soil_npkphcth_s,edge-01,s01,115.92,31.85,园林\n"
)
CLASSES = load_classes()


def write_registry(folder):
    (folder / "sites.csv").write_text(SITES, "utf-8")
    (folder / "devices.csv").write_text(DEVICES, "utf-8")
    return folder / "devices.csv", folder / "sites.csv"


class Bench:
    """A pipeline on a manual clock, with its real ledger and store."""

    def __init__(self, folder, make_store=None, *, recall=True):
        self.make_store = make_store or self.duckdb
        self.folder, self.clock, self.classes = folder, ManualClock(), CLASSES
        self.registry = load_registry(*write_registry(folder))
        self.open(recall=recall)

    def open(self, *, recall=True):
        config = LedgerConfig(self.folder / "ledger.db")
        self.ledger, self.reader = Ledger(config), LedgerReader(config)
        self.store = self.make_store()
        self.metrics, self.offsets = Metrics(), {}
        self.pipeline = Pipeline(
            producer="ingest-1", ledger=self.ledger, registry=self.registry, classes=CLASSES,
            engine=Engine(load_packs(), CLASSES), clock=self.clock, metrics=self.metrics, offset_of=self.offsets.get,
        )  # fmt: skip
        classes = {device.id: device.device_class for device in self.registry.devices.values()}
        if recall:
            self.pipeline.latest.recall(self.store.latest(), classes)
        self.writer = StoreWriter(
            self.ledger, self.store, lambda: self.pipeline.registry, self.clock, self.metrics
        )

    def guarded(self, engine):
        return Guarded(engine, Faults(self.clock), self.clock)

    def duckdb(self):
        return duckdb.Store(duckdb.Config(self.folder / "samples.duckdb"), CLASSES, lambda _: {})

    def close(self):
        self.store.close()
        self.ledger.close()

    def deliver(self, *payloads, agent="edge-01", store=True):
        batch = [
            Delivery(agent, f"yemai/v1/test/{agent}/up", payload, self.clock.now_ms(), None)
            for payload in payloads
        ]
        told = self.pipeline.process(batch)
        if store:
            self.writer.flush()
        return told

    def upload(self, seq, values, *, device="noise-01", agent="edge-01", boot="b", time=None, quality=None):
        reading = Reading(device, self.clock.now_ms() if time is None else time, values, quality or {})
        return json.encode(Upload(agent, boot, seq, self.clock.now_ms(), (reading,)))

    def fates(self, agent="edge-01"):
        told = self.reader.accounts().get(agent, {})
        return {
            "received": told.get("received", 0),
            "stored": sum(self.store.count().values()) + told.get("overwritten", 0),
            "quarantined": sum(told.get("quarantined", {}).values()),
            "duplicated": told.get("duplicated", 0),
        }


def write_config(folder, broker_port, api_port):
    devices, sites = write_registry(folder)
    path = folder / "ingest.toml"
    path.write_text(
        f'area = "test"\nproducer = "ingest-1"\nbroker = {{ host = "127.0.0.1", port = {broker_port} }}\n'
        f'store = {{ path = "samples.duckdb" }}\nledger = {{ path = "ledger.db" }}\n'
        f'registry = {{ devices = "{devices}", sites = "{sites}" }}\napi = {{ port = {api_port} }}\nalarms = {{ assert_s = 1 }}\n'
    )
    return path


def command(config):
    return [sys.executable, "-m", "cloud_ingest", "--config", str(config)]


async def start(config):
    return await asyncio.create_subprocess_exec(*command(config), stderr=asyncio.subprocess.DEVNULL)


async def stop(process):
    process.terminate()
    async with asyncio.timeout(20):
        return await process.wait()
