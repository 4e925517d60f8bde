"""``python drill_writer.py FOLDER``: commits to all that a district must not lose, and tells of each commit.

A line is ``<what> <n>``: everything up to the nth write of it is committed.  The ledger alone gets a hundred and fifty writes a second; who
falls behind commits what is due together, as ingest does.
"""

import asyncio
import sys
import threading
import time
from pathlib import Path

from cloud_ingest.config import LedgerConfig
from cloud_ingest.ledger import Ledger
from cloud_ingest.registry import approval
from cloud_ingest.registry.database import Database
from cloud_ingest.stores import duckdb
from command_center.desk import Desk
from command_center.store import Store
from device_profiles.vocabulary import load_classes
from rules.frame import Frame
from telemetry.clock import SystemClock
from telemetry.readings import Reading
from telemetry.severity import Severity
from telemetry.text import Text
from telemetry.transitions import AlarmMessage, Category, Change, Transition

T0 = 1_764_000_000_000
PER_S = {"ledger": 150, "samples": 50, "desk": 30, "registry": 10}
CLASSES = load_classes()


def paced(what, commit):
    """Call ``commit(first, last)`` so that the rate is kept, for ever."""
    began, done = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * PER_S[what])
        if due == done:
            time.sleep(1 / PER_S[what])
            continue
        commit(done + 1, due)
        done = due
        sys.stdout.write(f"{what} {done}\n")
        sys.stdout.flush()


def to_ledger(folder):
    ledger = Ledger(LedgerConfig(folder / "ledger.db"))

    def commit(first, last):
        with ledger.transaction():
            ledger.mark([("edge-01", "b", seq) for seq in range(first, last + 1)])
            for _ in range(first, last + 1):
                ledger.outbox.put(lambda n: b"alarm %d" % n, samples=0)

    paced("ledger", commit)


def to_samples(folder):
    store = duckdb.Store(duckdb.Config(folder / "samples.duckdb"), CLASSES, lambda _: {})

    def commit(first, last):
        seqs = range(first, last + 1)
        readings = [Reading("n1", T0 + seq * 1000, {"sound_level": 50.0}) for seq in seqs]
        store.write([Frame.of(readings, CLASSES["noise_monitor"])], [list(seqs)], T0)

    paced("samples", commit)


def to_registry(folder):
    database = Database(f"sqlite:///{folder}/registry.db", {})
    database.open()

    def commit(first, last):
        for n in range(first, last + 1):
            approval.decide(database, "agent", f"edge-{n}", allowed=True, by="li", now_ms=n)

    paced("registry", commit)


def to_desk(folder):
    loop = asyncio.new_event_loop()
    desk = loop.run_until_complete(Store(f"sqlite+aiosqlite:///{folder}/desk.db").__aenter__())
    taking = Desk(desk, SystemClock())

    def commit(first, last):
        messages = [AlarmMessage("ingest-1", "b", n, n, transition(n)) for n in range(first, last + 1)]
        loop.run_until_complete(taking.take(messages))

    paced("desk", commit)


def transition(n):
    return Transition(
        f"a{n}-0", f"a{n}", Change.BEGAN, f"d{n}", "noise_monitor", "noise_monitor.loud", "sound_level",
        Severity.BLUE, Category.WARNING, Text("噪", "Loud"), T0, T0,
    )  # fmt: skip


if __name__ == "__main__":
    for write in (to_ledger, to_samples, to_registry, to_desk):
        threading.Thread(target=write, args=(Path(sys.argv[1]),), daemon=True).start()
    threading.Event().wait()
