"""Mutated payloads through decode, admission, plausibility and the ledger: each has a fate, and memory stays flat.

20,000 of them in the suite, a million under ``make soak``.
"""

import os
import random

import numpy as np
import psutil
import pytest
from world import Bench

from cloud_ingest.config import LedgerConfig
from cloud_ingest.source import Delivery
from telemetry.codecs import json, msgpack
from telemetry.quality import ABSENT
from telemetry.readings import Gap, Reading, Upload

SOAK = bool(os.environ.get("SOAK"))
PAYLOADS = 1_000_000 if SOAK else 20_000
BATCH = 500
WARM = PAYLOADS // 5
GROWTH_BYTES = 48 * 1024 * 1024
SPLICES = [
    b"null", b"-1", b"1e308", b"1" + b"0" * 40, b"NaN", b"{}", b"[]", b'""', b"true", b"\x00", b"\xff", b"\\u0000", b"\\ud800",
    b'"device"', b'"values"', b"[" * 300, b"{" * 300, b"\xcf" + b"\xff" * 8, b"\xcb\x7f\xf8" + bytes(6), b"\xcb\x7f\xf0" + bytes(6), b"\xc0",
]  # fmt: skip


def upload(dice, seq, now):
    agent = dice.choice(["edge-01", "edge-02"])
    readings = []
    for _ in range(dice.randrange(4)):
        device, metrics = dice.choice(
            [
                ("noise-01", ["sound_level"]),
                ("smoke-01", ["smoke_alarm", "fault", "battery"]),
                ("chg-01", ["temperature", "voltage_l1", "state"]),
                ("soil-01", ["soil_moisture", "ph"]),
                ("ghost", ["x"]),
            ]
        )
        values = {metric: dice.choice([0.0, 1.0, 50.5, -7, None, 1e9, dice.random()]) for metric in metrics}
        quality = {metric: dice.choice([1, 64, 128]) for metric in metrics if dice.random() < 0.2}
        readings.append(Reading(device, now - dice.randrange(10**6), values, quality))
    gaps = (Gap("outbox_full", 3, now - 9, now),) if dice.random() < 0.05 else ()
    return agent, Upload(agent, "b", seq, now, tuple(readings), gaps)


def mutated(dice, payload):
    data = bytearray(payload)
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data[at:at] = dice.choice(SPLICES)
        elif kind == 2:
            del data[at : at + dice.randrange(1, 20)]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            end = at + dice.randrange(40)
            data[at:at] = data[at:end]
        else:
            number = dice.choice(SPLICES[:6])
            digits = [n for n, byte in enumerate(data) if 48 <= byte <= 57]
            if digits:
                place = dice.choice(digits)
                data[place : place + 1] = number
    return bytes(data)


WHOLE = {"malformed", "too large", "wrong agent", "unknown version", "impossible seq"}


def check(batch, seen, admitted, frames):
    """Each payload is admitted, in quarantine, or was there before.

    Every sample that was received is in a frame, with a value or a quality that says why not, or in quarantine.
    """
    whole = sum(item.reason in WHOLE for item in admitted.quarantined)
    assert len(batch) == len(admitted.uploads) + whole + len(seen) - len(admitted.identities)
    totals = {"received": 0, "duplicated": 0, "quarantined": 0}
    for (_, _, account), samples in admitted.counts.items():
        totals[account.split(":")[0]] += samples
    stored = sum(frame.sample_count for frame in frames)
    assert totals["received"] == stored + totals["quarantined"]
    assert stored == sum(admitted.to_store.values())
    for frame in frames:
        spoken = frame.quality != ABSENT
        assert (np.isfinite(frame.values) | (frame.quality > 0))[spoken].all()
        assert np.isnan(frame.values[~spoken]).all()


@pytest.mark.soak
@pytest.mark.timeout(0 if SOAK else 180)
def test_every_mutated_payload_gets_a_fate_and_memory_stays_flat(tmp_path):
    bench = Bench(tmp_path)
    bench.ledger._config = LedgerConfig(tmp_path / "ledger.db", quarantine_bytes=4 << 20)
    dice, pipeline, me = random.Random(4), bench.pipeline, psutil.Process()
    write, admit, admissions = pipeline._write, pipeline._admit, []

    def admitting(batch, *more):
        admissions.append((batch, admit(batch, *more)))
        return admissions[-1][1]

    def writing(admitted, frames, *rest):
        batch, (_, seen) = admissions.pop()
        check(batch, seen, admitted, frames)
        return write(admitted, frames, *rest)

    pipeline._admit, pipeline._write = admitting, writing
    warm = 0
    for first in range(1, PAYLOADS + 1, BATCH):
        batch = []
        for seq in range(first, first + BATCH):
            agent, message = upload(dice, seq, bench.clock.now_ms())
            payload = mutated(dice, dice.choice([json, msgpack]).encode(message))
            batch.append(Delivery(agent, "up", payload, bench.clock.now_ms(), None))
        pipeline.process(batch)
        while pipeline._turns.waiting:
            pipeline.process_held(1.0)
        assert not admissions, "checked"
        with bench.ledger.transaction():
            bench.ledger.outbox.acknowledge(bench.ledger.outbox.boot, [(1, 2**60)])
        if first % (20 * BATCH) == 1:
            bench.writer.flush()
        if first <= WARM:
            warm = me.memory_info().rss
    grown = me.memory_info().rss - warm
    told = [bench.reader.accounts().get(agent, {}) for agent in ("edge-01", "edge-02")]
    bench.close()
    assert all(
        set(account["quarantined"]) >= {"malformed", "wrong agent", "unknown device"} for account in told
    )
    assert grown < GROWTH_BYTES
    print(f"{PAYLOADS} payloads, {grown / 1e6:.1f} MB grown; {told[0]['quarantined']}")
