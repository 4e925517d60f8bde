"""The count closes, and says so when it does not."""

from telemetry.outbox import Outbox
from yemai.demo.count import Box, count, read_box


def accounting(stored, *, ranges=(), quarantined=None, overwritten=0):
    told = {"boots": {"b": {"ranges": ranges}}, "quarantined": quarantined or {}, "overwritten": overwritten}
    return {"agents": {"edge-01": told}, "store": {"samples": stored}}


def test_every_sample_is_in_one_place():
    box = Box("b", made=100, dropped={"outbox_full": 7}, waiting=((9, 20), (10, 3)))
    closed = count({"edge-01": box}, accounting(65, ranges=[[1, 8]], quarantined={"unknown metric": 5}))
    assert (closed.queued, closed.missing) == (23, 0)


def test_a_message_that_is_committed_but_not_yet_freed_is_stored_and_not_queued():
    box = Box("b", made=100, dropped={}, waiting=((9, 20),))
    assert count({"edge-01": box}, accounting(100, ranges=[[1, 9]])).queued == 0


def test_a_message_of_an_earlier_boot_frees_nothing_of_this_one():
    box = Box("c", made=20, dropped={}, waiting=((1, 20),))
    assert count({"edge-01": box}, accounting(0, ranges=[[1, 9]])).queued == 20


def test_a_lost_sample_is_missing_and_a_doubled_one_is_negative():
    box = Box("b", made=100, dropped={}, waiting=())
    assert count({"edge-01": box}, accounting(99)).missing == 1
    assert count({"edge-01": box}, accounting(101)).missing == -1


def test_an_outbox_is_read_while_its_agent_writes(tmp_path):
    path = tmp_path / "outbox.db"
    box = Outbox.open(path, max_bytes=10_000)
    with box.transaction():
        box.put(lambda _: b"{}", samples=4)
    assert read_box(path) == Box(box.boot, 4, {}, ((1, 4),))
    box.close()
