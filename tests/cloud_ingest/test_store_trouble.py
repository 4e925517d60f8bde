"""Ingest with a store in trouble: gone for minutes, slow to commit, its answer lost, its disk full.

Nothing is told as stored before it is, and what is tried again is there once.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import uuid

import duckdb
import numpy as np
import pytest
from conftest import missing
from databases import InfluxDB, VictoriaMetrics
from disks import waits_for_its_disk
from structlog.testing import capture_logs
from waiting import wait_until
from world import CLASSES, Bench

from cloud_ingest.stores import duckdb as duckdb_store
from cloud_ingest.stores import influxdb as influx_store
from rules.frame import Frame
from telemetry.errors import Unavailable

T0 = 1_764_000_000_000
LOCKING = "import duckdb, sys; db = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


class DuckDB:
    """DuckDB is gone while another program has its file open."""

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.path, self._holder = folder / "samples.duckdb", None

    def make(self):
        return duckdb_store.Store(duckdb_store.Config(self.path), CLASSES, lambda _: {})

    def go(self, bench):
        bench.store.close()
        self._holder = subprocess.Popen(
            [sys.executable, "-c", LOCKING, self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout.readline() == b"held\n"

    def come_back(self):
        self._holder.kill()
        self._holder.wait()
        self._holder.stdin.close()
        self._holder.stdout.close()

    def stop(self):
        pass

    def is_held_up(self):
        return waits_for_its_disk("self")

    def count(self, bench):
        return sum(bench.store.count().values())


class Influx(DuckDB):
    """InfluxDB 1.x, killed and started again."""

    def __init__(self, folder):
        if not InfluxDB.find():
            missing("influxd", "apt install influxdb")
        self.server, self.database, self.url = (
            InfluxDB(folder / "influxdb").start(),
            f"t{uuid.uuid4().hex}",
            None,
        )
        self.timeout_s = 30.0

    def make(self):
        link = influx_store.Config(self.url or self.server.url, self.database, timeout_s=self.timeout_s)
        return influx_store.Store(link, CLASSES, lambda _: {"area": "test"})

    def go(self, _bench):
        self.server.kill()

    def come_back(self):
        self.server.start()

    def stop(self):
        self.server.stop()

    def is_held_up(self):
        return waits_for_its_disk(self.server.pid)


class Victoria(Influx):
    """VictoriaMetrics, which takes v2 writes and can be asked nothing by ingest.

    It is stopped in order: killed, it forgets what it took in its last seconds, and has said that it has it.
    """

    def __init__(self, folder):
        if not VictoriaMetrics.find():
            missing("victoria-metrics", "apt install victoria-metrics")
        self.server = VictoriaMetrics(folder / "vm").start()

    def make(self):
        link = influx_store.Config(self.server.url, "yemai", org="o", version=2)
        return influx_store.Store(link, CLASSES, lambda _: {"area": "test"})

    def go(self, _bench):
        self.server.stop()

    def count(self, _bench):
        (series,) = self.server.export('{__name__="noise_monitor_sound_level",device="noise-01"}')
        return len(series["timestamps"])


@pytest.fixture(params=[DuckDB, Influx], ids=["duckdb", "influxdb"])
def kind(request):
    return request.param


@pytest.fixture
def store(kind, tmp_path):
    here = kind(tmp_path)
    yield here
    here.stop()


@pytest.fixture
def bench(tmp_path, store):
    here = Bench(tmp_path, store.make, recall=not isinstance(store, Victoria))
    yield here
    here.close()


async def at_once(work, *arguments):
    return work(*arguments)


@contextlib.asynccontextmanager
async def writing(bench, on_store=at_once):
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(bench.writer.run(at_once, on_store))
        yield
        task.cancel()


def speak(bench, seqs, boot="b"):
    """An upload for each seq, of that second; return what was acknowledged."""
    begin = (bench.clock.now_ms() // 100_000_000 - 1) * 100_000_000
    payloads = [
        bench.upload(seq, {"sound_level": 40.0 + seq % 50}, boot=boot, time=begin + seq * 1000)
        for seq in seqs
    ]
    acks, _ = bench.deliver(*payloads, store=False)
    return acks[0][1].ranges


def is_there_once(bench, store, count):
    told = bench.reader.accounts()["edge-01"]
    assert bench.reader.waiting() == 0
    assert (told["received"], told["stored"], told["overwritten"]) == (count, count, 0)
    assert store.count(bench) == count


@pytest.mark.parametrize("kind", [DuckDB, Influx, Victoria], ids=["duckdb", "influxdb", "victoriametrics"])
async def test_a_store_that_is_gone_for_ten_minutes_gets_everything_once(bench, store):
    speak(bench, range(1, 11))
    with capture_logs() as logs:
        async with writing(bench):
            await bench.clock.advance(1)
            assert bench.reader.waiting() == 0
            store.go(bench)
            for minute in range(10):
                assert speak(bench, range(11 + minute * 10, 21 + minute * 10))[-1][-1] == 20 + minute * 10
                await bench.clock.advance(60)
                bench.writer.changed()
            assert bench.reader.waiting() == 100
            assert bench.reader.accounts()["edge-01"]["stored"] == 10
            assert bench.writer.problem
            store.come_back()
            await bench.clock.advance(30)
            assert bench.writer.problem == ""
    is_there_once(bench, store, 110)
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["store_away"]
    assert "store_back" in [entry["event"] for entry in logs]


def test_a_commit_that_takes_long_is_not_told_as_done_before_it_is(disk, kind):
    store = kind(disk.path)
    (ledger := disk.path.parent / "ledger").mkdir()
    bench = Bench(ledger, store.make)
    try:
        for turn in range(2):
            speak(bench, range(1 + turn * 10, 11 + turn * 10))
            writing = threading.Thread(target=bench.writer.flush)
            disk.freeze()
            writing.start()
            try:
                asyncio.run(wait_until(store.is_held_up, 20, "the store to wait for its disk"))
                assert bench.reader.waiting() == 10, "told as stored before its file was synced"
            finally:
                disk.thaw()
                writing.join()
            is_there_once(bench, store, 10 + turn * 10)
    finally:
        bench.close()
        store.stop()


def test_no_upload_is_acknowledged_before_the_ledger_is_synced(disk):
    bench = Bench(disk.path)
    acked = []
    speaking = threading.Thread(target=lambda: acked.append(speak(bench, range(1, 11))))
    disk.freeze()
    speaking.start()
    try:
        asyncio.run(wait_until(lambda: waits_for_its_disk("self"), 20, "the ledger to wait for its disk"))
        assert not acked
    finally:
        disk.thaw()
        speaking.join()
    assert acked == [((1, 10),)]
    bench.close()


def test_a_full_disk_takes_nothing_and_loses_nothing(disk):
    store = DuckDB(disk.path)
    (ledger := disk.path.parent / "ledger").mkdir()
    bench = Bench(ledger, store.make)
    speak(bench, range(1, 11))
    bench.writer.flush()
    disk.fill()
    for turn in range(1, 3):  # more than what the file has room for inside
        speak(bench, range(1 + turn * 10_000, 2001 + turn * 10_000))
        with pytest.raises(Unavailable, match=r"samples\.duckdb.*No space left on device"):
            bench.writer.flush()
    assert bench.reader.waiting() == 4_000
    assert sum(bench.store.count().values()) == 10, "what is there can still be asked for"
    disk.free()
    bench.writer.flush()
    is_there_once(bench, store, 4_010)
    bench.store.close()
    is_there_once(bench, store, 4_010)
    bench.close()


def test_a_disk_that_fills_up_under_a_checkpoint_closes_the_file_and_loses_nothing(disk):
    """DuckDB serves no more after that; the batch was in its log and is written once all the same."""
    metrics, rows = len(CLASSES["ev_charger"].metrics), 20_000
    store = duckdb_store.Store(duckdb_store.Config(disk.path / "samples.duckdb"), CLASSES, lambda _: {})
    (disk.path / "ballast").write_bytes(bytes(38 << 20))

    def write(nth):
        values = np.random.default_rng(nth).random((rows, metrics))
        none, time = np.zeros(rows, np.int64), T0 + nth * rows + np.arange(rows)
        frame = Frame(
            "ev_charger", ("a",), none.astype(np.int32), time, values, np.zeros(values.shape, np.uint8), none
        )
        return store.write([frame], [np.full(rows, nth)], T0)

    written = 0
    with pytest.raises(Unavailable, match="No space left") as failed:
        for written in range(100):
            write(written)
    assert isinstance(failed.value.__cause__, duckdb.FatalException)
    with pytest.raises(Unavailable):
        write(written)
    (disk.path / "ballast").unlink()
    assert write(written).samples == rows * metrics
    assert store.count()["ev_charger"] == (written + 1) * rows * metrics
    write(written + 1)
    store.close()
    again = duckdb_store.Store(duckdb_store.Config(disk.path / "samples.duckdb"), CLASSES, lambda _: {})
    assert again.count()["ev_charger"] == (written + 2) * rows * metrics
    again.close()


class SilentProxy:
    """Takes every request to a server, and hands no answer back until told to."""

    def __init__(self, port):
        self._to, self._over = port, False
        self.silent, self.answers_kept = threading.Event(), 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self):
        while True:
            client, _ = self._socket.accept()
            if self._over:
                client.close()
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            for source, sink, back in ((client, server, False), (server, client, True)):
                self._threads.append(threading.Thread(target=self._carry, args=(source, sink, back)))
                self._threads[-1].start()

    def _carry(self, source, sink, back):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if back and self.silent.is_set():
                    self.answers_kept += 1
                else:
                    sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def stop(self):
        self._over = True
        with contextlib.suppress(OSError):
            socket.create_connection(self._socket.getsockname()).close()
        for thread in self._threads:
            thread.join(5)
        self._socket.close()


def test_a_batch_whose_answer_is_lost_is_written_once(tmp_path):
    store = Influx(tmp_path)
    proxy = SilentProxy(store.server.port)
    store.url, store.timeout_s = proxy.url, 1.0
    bench = Bench(tmp_path, store.make)
    try:
        speak(bench, range(1, 11))
        bench.writer.flush()
        speak(bench, range(5, 25), boot="another")  # six of them are there
        proxy.silent.set()
        for _ in range(2):
            with pytest.raises(Unavailable):
                bench.writer.flush()
        assert proxy.answers_kept
        assert bench.reader.waiting() == 20
        proxy.silent.clear()
        bench.writer.flush()
        told = bench.reader.accounts()["edge-01"]
        there = sum(bench.store.count().values())
        assert (told["received"], told["stored"], told["overwritten"], there) == (30, 30, 6, 24)
    finally:
        bench.close()
        store.stop()
        proxy.stop()


def test_a_server_that_is_gone_is_asked_before_a_batch_is_drawn_up_again(tmp_path, monkeypatch):
    store, drawn = Influx(tmp_path), []
    bench = Bench(tmp_path, store.make)
    try:
        speak(bench, range(1, 6))
        bench.writer.flush()
        draw = influx_store.lines
        monkeypatch.setattr(influx_store, "lines", lambda *told: drawn.append(1) or draw(*told))
        store.go(bench)
        speak(bench, range(6, 11))
        for _ in range(5):
            with pytest.raises(Unavailable):
                bench.writer.flush()
        assert len(drawn) == 1
        store.come_back()
        bench.writer.flush()
        is_there_once(bench, store, 10)
    finally:
        bench.close()
        store.stop()
