"""Window and keeper: what is on its way, and one fsync for many callers."""

import asyncio

import pytest

from telemetry import codecs
from telemetry.codecs import json, msgpack
from telemetry.errors import Malformed, Unavailable
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox
from telemetry.readings import Ack
from telemetry.window import Window


def opened(path):
    return Outbox.open(path / "outbox.db", max_bytes=1_000_000)


def filled(path, count):
    box = opened(path)
    with box.transaction():
        for _ in range(count):
            box.put(lambda seq: b"%d" % seq, samples=1)
    return box


def opened_window(box, size=4):
    """A window whose way was shown to be open by the acknowledgement of message 1."""
    window = Window(size, 2)
    assert [m.seq for m in window.due(box, 0)] == [1]
    with box.transaction():
        box.acknowledge(box.boot, [(1, 1)])
    window.acknowledged([(1, 1)])
    return window


def test_one_message_feels_the_way_until_an_acknowledgement_opens_it(tmp_path):
    box, window = filled(tmp_path, 10), Window(4, 2)
    assert [m.seq for m in window.due(box, 0)] == [1]
    assert window.due(box, 1) == []
    assert [m.seq for m in window.due(box, 2)] == [1], "silence: the same message again"
    window.acknowledged([(1, 1)])
    with box.transaction():
        box.acknowledge(box.boot, [(1, 1)])
    assert [m.seq for m in window.due(box, 2.1)] == [2, 3, 4, 5]
    box.close()


def test_no_more_than_the_window_is_on_its_way(tmp_path):
    box = filled(tmp_path, 10)
    window = opened_window(box)
    assert [m.seq for m in window.due(box, 0.1)] == [2, 3, 4, 5]
    assert window.due(box, 1) == []
    window.acknowledged([(2, 3)])
    with box.transaction():
        box.acknowledge(box.boot, [(2, 3)])
    assert [m.seq for m in window.due(box, 1.1)] == [6, 7]
    box.close()


def test_silence_closes_the_window_and_the_oldest_goes_first_again(tmp_path):
    box = filled(tmp_path, 10)
    window = opened_window(box)
    window.due(box, 0.5)
    assert window.next_due_s(1) == 1.5
    assert [m.seq for m in window.due(box, 2.5)] == [2]
    box.close()


def test_a_consumer_that_is_slow_but_goes_on_is_sent_nothing_twice(tmp_path):
    box = filled(tmp_path, 5)
    window = opened_window(box)
    assert [m.seq for m in window.due(box, 0.1)] == [2, 3, 4, 5]
    for seq, now in ((2, 1.5), (3, 3.0), (4, 4.5)):
        window.acknowledged([(seq, seq)])
        with box.transaction():
            box.acknowledge(box.boot, [(seq, seq)])
        assert window.due(box, now) == [], "each within the patience of two seconds"
    window.acknowledged([(2, 4)])
    assert window.due(box, 6.4) == []
    assert window.next_due_s(6.4) == pytest.approx(0.1), "what was acknowledged before says nothing new"
    assert [m.seq for m in window.due(box, 6.5)] == [5]
    box.close()


def test_a_hole_is_filled_before_anything_newer_is_sent(tmp_path):
    box = filled(tmp_path, 10)
    window = opened_window(box)
    assert [m.seq for m in window.due(box, 0.1)] == [2, 3, 4, 5]
    with box.transaction():
        box.acknowledge(box.boot, [(4, 4)])
    window.acknowledged([(4, 4)])
    assert [m.seq for m in window.due(box, 0.2)] == [2, 3, 6]
    box.close()


def test_a_lost_link_sends_everything_again(tmp_path):
    box = filled(tmp_path, 4)
    window = opened_window(box)
    window.due(box, 0.1)
    window.link_lost()
    assert [m.seq for m in window.due(box, 0.2)] == [2]
    window.acknowledged([(2, 2)])
    assert [m.seq for m in window.due(box, 0.3)] == [2, 3, 4], "freed by the outbox alone"
    box.close()


def test_a_link_lost_while_the_disk_is_asked_leaves_nothing_behind_that_was_never_sent(tmp_path):
    class SlowBox(Outbox):
        def hand_out(self, messages, *, least=1):
            window.link_lost()  # the session's task hears of it while the disk's thread works
            return super().hand_out(messages, least=least)

    box, window = SlowBox.open(tmp_path / "outbox.db", max_bytes=1_000_000), Window(4, 2)
    with box.transaction():
        box.put(lambda _: b"x", samples=1)
    assert [m.seq for m in window.due(box, 0)] == [1]
    assert [m.seq for m in window.due(box, 0.1)] == [1]
    box.close()


def test_a_link_that_cannot_be_made_for_a_day_leaves_one_word_and_what_is_due_stays_the_same(tmp_path):
    box = filled(tmp_path, 10)
    window = opened_window(box)
    assert [m.seq for m in window.due(box, 0.1)] == [2, 3, 4, 5]
    window.acknowledged([(2, 2)])
    for _ in range(17_000):
        window.link_lost()
    assert len(window._heard) == 2, "what was acknowledged, and one loss"
    assert [m.seq for m in window.due(box, 0.2)] == [2], "the way is felt again"
    for heard in (window.link_lost, lambda: window.acknowledged([(2, 2)]), window.link_lost):
        heard()
    assert len(window._heard) == 3, "a loss after an acknowledgement counts again"
    assert [m.seq for m in window.due(box, 0.3)] == [2]
    assert window.due(box, 0.4) == [], "still one at a time"
    box.close()


async def test_many_callers_share_few_commits(tmp_path):
    box = opened(tmp_path)
    commits = []
    box._db.set_trace_callback(lambda sql: commits.append(sql) if sql.startswith("COMMIT") else None)
    async with Keeper(box) as keeper:
        seqs = await asyncio.gather(*(keeper.put(lambda _: b"x", samples=2) for _ in range(200)))
        told = await keeper.counters()
    assert sorted(seqs) == list(range(1, 201))
    assert told.made == told.queued == 400
    assert len(commits) < 10


async def test_a_cancelled_caller_leaves_the_others_alone(tmp_path):
    async with Keeper(opened(tmp_path)) as keeper:
        doomed = asyncio.ensure_future(keeper.put(lambda _: b"x", samples=1))
        other = asyncio.ensure_future(keeper.put(lambda _: b"y", samples=1))
        await asyncio.sleep(0)
        doomed.cancel()
        assert await other == 2


async def test_each_caller_is_told_when_the_disk_refuses(tmp_path):
    box = opened(tmp_path)
    pages = box._db.execute("PRAGMA page_count").fetchone()[0]
    box._db.execute(f"PRAGMA max_page_count = {pages}")
    async with Keeper(box) as keeper:
        puts = [keeper.put(lambda _: bytes(100_000), samples=1) for _ in range(3)]
        answers = await asyncio.gather(*puts, return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable] * 3
        box._db.execute("PRAGMA max_page_count = 1000")
        assert await keeper.put(lambda _: b"x", samples=1) == 1


async def test_what_comes_after_the_end_is_refused(tmp_path):
    async with Keeper(opened(tmp_path)) as keeper:
        pass
    with pytest.raises(Unavailable, match="closed"):
        await keeper.counters()


@pytest.mark.parametrize("codec", [json, msgpack], ids=["json", "msgpack"])
@pytest.mark.parametrize("pair", [(-1, 3), (1, 2**62), (1, 2**63), (2**63, 2**64 - 1)])
def test_a_receipt_for_what_no_outbox_gives_is_malformed_and_reaches_none(codec, pair):
    told = codec.encode(Ack("b", (pair,)))
    with pytest.raises(Malformed, match="ranges"):
        codecs.decode(told, Ack, max_bytes=1000)
