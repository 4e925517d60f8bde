"""Ingest killed between the store's commit and the ledger's note of it: what was overwritten is counted once."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from conftest import missing
from databases import InfluxDB
from world import CLASSES, Bench

from cloud_ingest.stores import influxdb as influx_store

HERE = Path(__file__).parent
KILLED = """
import os, signal, sys
from pathlib import Path
from test_crash_points import bench_of, speak

bench = bench_of(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
speak(bench, "before")
bench.writer.flush()
speak(bench, "again")
store, point = bench.store, sys.argv[4]
write = store.write

def killed(*batch):
    if point == "after the commit":
        write(*batch)
    os.kill(os.getpid(), signal.SIGKILL)

store.write = killed
bench.writer.flush()
"""
POINTS = ["before the store's write", "after the commit"]


def bench_of(folder, url, database):
    def store():
        return influx_store.Store(influx_store.Config(url, database, timeout_s=30), CLASSES, lambda _: {})

    return Bench(folder, store if url else None)


def speak(bench, part):
    """Twenty samples; then from an outbox that was lost ten of them again and two of each of five new ones."""
    begin = bench.clock.now_ms() - 100_000
    told = [(n, "b", n + 1) for n in range(20)]
    if part == "again":
        told = [(n, "c", n + 1) for n in (*range(10), *range(30, 35), *range(30, 35))]
        told = [(n, boot, nth + 1) for nth, (n, boot, _) in enumerate(told)]
    payloads = [
        bench.upload(seq, {"sound_level": 50.0 + n}, boot=boot, time=begin + n * 1000)
        for n, boot, seq in told
    ]
    for payload in payloads:
        bench.deliver(payload, store=False)


@pytest.fixture(params=["duckdb", "influxdb"])
def url(request, tmp_path):
    if request.param == "duckdb":
        yield ""
        return
    if not InfluxDB.find():
        missing("influxd", "apt install influxdb")
    server = InfluxDB(tmp_path / "influxdb").start()
    yield server.url
    server.stop()


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_around_the_stores_commit_counts_what_is_overwritten_exactly_once(tmp_path, url, point):
    database = f"t{uuid.uuid4().hex}"
    folder = tmp_path / "ingest"
    folder.mkdir()
    process = subprocess.run(
        [sys.executable, "-c", KILLED, folder, url, database, point],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in [str(HERE.parent), str(HERE), *sys.path] if p)},
        check=False, timeout=60,
    )  # fmt: skip
    assert process.returncode == -signal.SIGKILL
    bench = bench_of(folder, url, database)
    bench.deliver(
        bench.upload(99, {"sound_level": 1.0}, boot="c"), store=False
    )  # what comes later is no part of it
    assert bench.reader.accounts()["edge-01"]["overwritten"] == 0
    bench.writer.flush()
    told = bench.reader.accounts()["edge-01"]
    there = sum(bench.store.count().values())
    bench.close()
    assert (told["received"], told["stored"], told["overwritten"], there) == (41, 41, 15, 26)
