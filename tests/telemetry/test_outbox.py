"""The outbox keeps its promise: what was committed is there, once, whatever happens to the process."""

import os
import random
import sqlite3
import subprocess
import sys
import textwrap

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from telemetry.codecs import json
from telemetry.errors import Unavailable
from telemetry.outbox import Outbox, Priority
from telemetry.readings import Gap, Upload

ROUNDS = 500 if os.environ.get("SOAK") else 30


def gap_message(seq, boot, gap):
    return json.encode(Upload("edge-01", boot, seq, 0, gaps=(gap,)))


def opened(path, max_bytes=1_000_000):
    return Outbox.open(path, max_bytes=max_bytes, gap_message=gap_message)


def closes(box):
    told = box.counters()
    return told.made == told.freed + told.queued + sum(told.dropped.values())


WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from telemetry.outbox import Outbox
    box = Outbox.open(Path(sys.argv[1]), max_bytes=10_000_000)
    freed = 0
    while True:
        with box.transaction():
            seqs = [box.put(lambda seq: b"payload %d" % seq, samples=3) for _ in range(4)]
        print(*seqs, flush=True)
        if seqs[-1] % 20 == 0:
            with box.transaction():
                box.acknowledge(box.boot, [(1, seqs[-1] - 10)])
            print("freed", seqs[-1] - 10, flush=True)
    """
)


def test_what_was_committed_survives_sigkill_at_any_moment(tmp_path):
    dice = random.Random(5)
    for round_ in range(ROUNDS):
        path = tmp_path / f"{round_}.db"
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        told, freed = [], 0
        for _ in range(dice.randint(1, 60)):
            words = child.stdout.readline().split()
            if words[0] == "freed":
                freed = int(words[1])
            else:
                told += map(int, words)
        child.kill()
        rest = child.stdout.read()
        child.wait()
        child.stdout.close()
        for line in rest.splitlines(keepends=True):
            words = line.split()
            if not line.endswith("\n"):
                continue
            if words[0] == "freed":
                freed = int(words[1])
            else:
                told += map(int, words)
        box = opened(path, 10_000_000)
        there = {m.seq: m.payload for m in box.waiting(1_000_000)}
        # the child may have committed a free that it could not tell of any more
        missing = [seq for seq in told if seq > freed + 20 and seq not in there]
        assert missing == []
        assert all(payload == b"payload %d" % seq for seq, payload in there.items())
        assert closes(box)
        box.close()


def test_a_corrupt_file_is_moved_aside_and_told_of(tmp_path):
    path = tmp_path / "outbox.db"
    path.write_bytes(b"this is no database" * 1000)
    box = opened(path)
    assert box.note("moved_aside") in {file.name for file in tmp_path.iterdir()}
    (message,) = box.waiting(10)
    assert json.decode(message.payload, Upload).gaps[0].cause == "outbox_corrupt"
    box.close()


def test_a_full_disk_refuses_and_loses_nothing_and_works_again_when_there_is_room(tmp_path):
    box = opened(tmp_path / "outbox.db", 100_000_000)
    with box.transaction():
        box.put(lambda _: b"kept", samples=1)
    pages = box._db.execute("PRAGMA page_count").fetchone()[0]
    box._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match="full"), box.transaction():
        for _ in range(50):
            box.put(lambda _: bytes(10_000), samples=1)
    assert box.counters().made == 1
    box._db.execute("PRAGMA max_page_count = 100000")
    with box.transaction():
        box.put(lambda _: bytes(10_000), samples=1)
    assert (box.counters().made, closes(box)) == (2, True)
    box.close()


def test_a_caller_who_rolls_back_has_put_nothing(tmp_path):
    db = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    box = Outbox(db, max_bytes=100_000)
    with pytest.raises(KeyError), box.transaction():
        box.put(lambda _: b"alarm", priority=Priority.ALARM)
        raise KeyError
    assert box.counters().messages == 0
    assert box.counters().bytes == 0
    db.close()


def test_a_full_outbox_gives_up_history_first_and_alarms_never(tmp_path):
    box = opened(tmp_path / "outbox.db", 3000)
    with box.transaction():
        box.put(lambda _: b"a" * 200, samples=1, priority=Priority.ALARM)
        box.put(lambda _: b"l" * 200, samples=1, priority=Priority.LIVE)
        for _ in range(20):
            box.put(lambda _: b"h" * 200, samples=1, priority=Priority.HISTORY)
    kept = [message.priority for message in box.waiting(100)]
    assert Priority.ALARM in kept
    assert Priority.LIVE in kept
    assert box.counters().dropped["outbox_full"] == 21 + 1 - box.counters().queued
    with pytest.raises(Unavailable, match="none of which may be given up"), box.transaction():
        for _ in range(20):
            box.put(lambda _: b"a" * 200, samples=1, priority=Priority.ALARM)
    assert closes(box)
    box.close()


class OutboxMachine(RuleBasedStateMachine):
    """An outbox and the other end: seqs are never reused, the order holds, the bound holds, the count closes.

    What was sent is never given up, so that what is told of as lost did not arrive, and the rest did or waits.
    """

    MOST = 4000

    def __init__(self):
        super().__init__()
        self.folder = sqlite3.connect(":memory:", isolation_level=None)
        self.box = Outbox(self.folder, max_bytes=self.MOST, gap_message=gap_message)
        self.given = 0
        self.made = 0
        self.arrived = {}  # seq → its samples, and those that it tells of as lost

    @rule(
        size=st.integers(1, 400),
        samples=st.integers(0, 9),
        priority=st.sampled_from([Priority.HISTORY, Priority.LIVE]),
    )
    def put(self, size, samples, priority):
        with self.box.transaction():
            seq = self.box.put(lambda _: b"x" * size, samples=samples, priority=priority)
        assert seq > self.given
        self.given = max(self.given, self.box.last_seq())
        self.made += samples

    @rule(size=st.integers(1, 400))
    def abort(self, size):
        before = self.box.counters()
        with pytest.raises(KeyError), self.box.transaction():
            self.box.put(lambda _: b"x" * size, samples=1)
            raise KeyError
        assert self.box.counters() == before

    @rule(count=st.integers(0, 30), least=st.integers(0, 1))
    def send(self, count, least):
        for message in self.box.hand_out(self.box.waiting(count), least=least):
            lost = 0
            if message.priority == Priority.GAP:
                lost = json.decode(message.payload, Upload).gaps[0].samples
            assert self.arrived.setdefault(message.seq, (message.samples, lost)) == (message.samples, lost)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def acknowledge(self, data):
        first = data.draw(st.integers(1, self.given))
        last = data.draw(st.integers(first, self.given))
        with self.box.transaction():
            self.box.acknowledge(self.box.boot, [(seq, seq) for seq in self.arrived if first <= seq <= last])
            assert self.box.acknowledge("another boot", [(1, 10**9)]) == 0

    @rule()
    def reopen(self):
        self.box = Outbox(self.folder, max_bytes=self.MOST, gap_message=gap_message)

    @invariant()
    def holds(self):
        told, waiting = self.box.counters(), self.box.waiting(10_000)
        assert told.made == self.made
        assert closes(self.box)
        assert told.queued == sum(message.samples for message in waiting)
        still = [m for m in waiting if m.seq not in self.arrived]
        stored = sum(samples for samples, _ in self.arrived.values())
        lost = sum(lost for _, lost in self.arrived.values()) + sum(
            json.decode(m.payload, Upload).gaps[0].samples for m in still if m.priority == Priority.GAP
        )
        assert self.made == stored + sum(m.samples for m in still) + lost, (
            "nothing unexplained, nothing twice"
        )
        assert lost == sum(told.dropped.values())
        marks = self.folder.execute("SELECT key FROM outbox_meta WHERE key LIKE 'out:%'")
        marked = {int(key.removeprefix("out:")) for (key,) in marks}
        assert marked <= {m.seq for m in waiting}, "a mark goes with its message"

        def turn(m):  # gaps, alarms, what was sent before, the rest
            urgent = m.priority >= Priority.ALARM
            first = 0 if urgent else 1 if m.seq in marked else 2
            return first, 0 if first == 1 else -m.priority, m.seq

        assert waiting == sorted(waiting, key=turn)
        room = sum(len(m.payload) + 64 for m in waiting if m.priority < Priority.ALARM)
        assert room <= self.MOST

    def teardown(self):
        self.folder.close()


OutboxMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestOutboxMachine = OutboxMachine.TestCase


def test_a_gap_that_was_handed_out_is_not_changed_any_more(tmp_path):
    box = opened(tmp_path / "outbox.db", 2000)

    def fill():
        with box.transaction():
            for _ in range(12):
                box.put(lambda _: b"x" * 200, samples=1)

    fill()
    first = [m for m in box.hand_out(box.waiting(100)) if m.priority == Priority.GAP]
    fill()
    later = [m for m in box.waiting(100) if m.priority == Priority.GAP]
    assert first[0] in later
    assert len(later) == 2
    gaps = [msgspec.json.decode(m.payload, type=Upload).gaps[0] for m in later]
    assert sum(gap.samples for gap in gaps) == box.counters().dropped["outbox_full"]
    box.close()


def test_samples_that_never_reached_the_disk_are_counted(tmp_path):
    box = opened(tmp_path / "outbox.db")
    with box.transaction():
        box.lose(Gap("disk_full", 7, 1000, 2000))
    assert box.counters().dropped == {"disk_full": 7}
    assert closes(box)
    box.close()


def test_what_was_sent_is_not_given_up_even_by_the_process_that_comes_after_a_kill(tmp_path):
    path = tmp_path / "outbox.db"
    box = opened(path, 10_000)
    with box.transaction():
        for _ in range(20):
            box.put(lambda _: b"x" * 100, samples=1)
    sent = [m.seq for m in box.hand_out(box.waiting(20))]
    assert sent == list(range(1, 21))
    with box.transaction():
        box.acknowledge(box.boot, [(3, 5)])
    later = opened(path, 10_000)  # the first was killed: nothing is said
    with later.transaction():
        for _ in range(500):
            later.put(lambda _: b"x" * 100, samples=1)
    there = {m.seq for m in later.waiting(1000)}
    assert set(sent) - {3, 4, 5} <= there
    dropped = later.counters().dropped["outbox_full"]
    assert dropped == 520 - 3 - later.counters().queued > 400
    box.close()
    later.close()


def test_a_small_outbox_sends_no_more_at_once_than_leaves_something_to_give_up(tmp_path):
    box = opened(tmp_path / "outbox.db", 4000)
    with box.transaction():
        for _ in range(14):
            box.put(lambda _: b"x" * 200, samples=1)
    sent = box.hand_out(box.waiting(14), least=0)
    assert sum(len(m.payload) + 64 for m in sent) <= 2000
    assert box.hand_out(box.waiting(14, besides=[m.seq for m in sent]), least=0) == []
    (more,) = box.hand_out(box.waiting(14, besides=[m.seq for m in sent]), least=1)
    assert more.seq == max(m.seq for m in sent) + 1, "but where nothing is on its way, one may go"
    box.close()


def test_a_disk_that_takes_no_note_lets_only_what_was_sent_before_go_again(tmp_path):
    box = opened(tmp_path / "outbox.db")
    with box.transaction():
        for _ in range(200):
            box.put(lambda _: b"x" * 100, samples=1)
    before = box.hand_out(box.waiting(10))
    box._db.execute("PRAGMA query_only = 1")
    assert box.hand_out(box.waiting(50)) == before
    box._db.execute("PRAGMA query_only = 0")
    assert len(box.hand_out(box.waiting(50))) == 50
    box.close()
