"""After an outage what happens now goes first, and history has its share and no more."""

import pytest

from edge_agent.budget import Budget, upload_bytes
from edge_agent.gather import GapMessage
from edge_agent.order import LiveFirst
from telemetry.outbox import Outbox, Priority, Queued
from telemetry.testing import ManualClock


def box_and_window(tmp_path, share=0.5, size=4, admit=lambda *_: True, most_bytes=10_000, gap_message=None):
    clock = ManualClock()
    box = Outbox.open(tmp_path / "outbox.db", max_bytes=10**7, now_ms=clock.now_ms, gap_message=gap_message)
    return clock, box, LiveFirst(clock, size, 2.0, share=share, most_bytes=most_bytes, admit=admit)


def put(box, count, priority=Priority.LIVE, size=100):
    with box.transaction():
        return [box.put(lambda _: bytes(size), samples=1, priority=priority) for _ in range(count)]


def acknowledge(box, window, seqs):
    spans = [(seq, seq) for seq in seqs]
    with box.transaction():
        box.acknowledge(box.boot, spans)
    window.acknowledged(spans)
    window.let_go(spans)


async def test_what_happens_now_is_sent_before_an_outage_of_three_days(tmp_path):
    clock, box, window = box_and_window(tmp_path)
    old = put(box, 20)
    await clock.advance(72 * 3600)
    new = put(box, 3)
    alarm = put(box, 1, Priority.ALARM)
    assert [m.seq for m in window.due(box, clock.monotonic())] == alarm, "one feels the way"
    acknowledge(box, window, alarm)
    sent = [m.seq for m in window.due(box, clock.monotonic())]
    assert sent == [*new, old[0]], "live first, history in what is left of the window"
    box.close()


async def test_a_short_interruption_is_caught_up_with_in_order(tmp_path):
    clock, box, window = box_and_window(tmp_path)
    old = put(box, 2)
    await clock.advance(30)
    put(box, 2)
    first = [m.seq for m in window.due(box, 0)]
    acknowledge(box, window, first)
    assert [*first, *(m.seq for m in window.due(box, 0.1))] == [*old, 3, 4]
    box.close()


async def test_history_has_its_share_of_the_ways_time_and_an_eta(tmp_path):
    clock, box, window = box_and_window(tmp_path, share=0.25)
    put(box, 50)
    await clock.advance(3600)
    acknowledge(box, window, [m.seq for m in window.due(box, clock.monotonic())])
    await clock.advance(10)
    batch = window.due(box, clock.monotonic())
    assert len(batch) == 2, "half of the window, so that live data always finds room"
    await clock.advance(1)  # the way needs a second for them
    acknowledge(box, window, [m.seq for m in batch])
    assert window.due(box, clock.monotonic()) == []
    await clock.advance(2.9)
    assert window.due(box, clock.monotonic()) == [], "three seconds are the others'"
    live = put(box, 1)
    assert [m.seq for m in window.due(box, clock.monotonic())] == live
    acknowledge(box, window, live)
    await clock.advance(0.2)
    assert len(window.due(box, clock.monotonic())) == 2
    assert window.history_bytes_per_s > 0
    box.close()


async def test_what_was_on_its_way_when_the_link_went_is_sent_again_before_anything_new(tmp_path):
    refused = set()
    clock, box, window = box_and_window(
        tmp_path,
        gap_message=GapMessage("edge-01"),
        admit=lambda m, until, _: not (m.seq <= until and m.seq in refused),
    )
    old = put(box, 30)
    acknowledge(box, window, [m.seq for m in window.due(box, clock.monotonic())])
    on_way = [m.seq for m in window.due(box, clock.monotonic())]
    assert on_way == old[1:5]
    window.link_lost()
    await clock.advance(3600)
    new = put(box, 2)
    assert box.handed_out == 8, "marked as they were put, that no commit of its own is needed"
    assert [m.seq for m in window.due(box, clock.monotonic())] == [on_way[0]]
    acknowledge(box, window, [on_way[0]])
    refused.update(on_way)  # the day's budget for history is spent
    assert [m.seq for m in window.due(box, clock.monotonic())][:2] == [old[5], old[6]]
    refused.update(old)
    window.link_lost()
    acknowledge(box, window, [])
    assert [m.seq for m in window.due(box, clock.monotonic())] == new[:1], "and does not stand in the way"
    box.close()


@pytest.mark.parametrize("gap_message", [None, GapMessage("edge-01")])
async def test_history_goes_on_when_an_upload_of_it_is_lost_and_its_budget_is_spent(tmp_path, gap_message):
    refused = set()
    clock, box, window = box_and_window(
        tmp_path, admit=lambda m, until, _: not (m.seq <= until and m.seq in refused), gap_message=gap_message
    )
    old = put(box, 20)
    await clock.advance(3600)
    acknowledge(box, window, [m.seq for m in window.due(box, clock.monotonic())])
    while gap_message and box.handed_out:  # those that were marked as they were put
        acknowledge(box, window, [m.seq for m in window.due(box, clock.monotonic())])
    lost, *come = [m.seq for m in window.due(box, clock.monotonic())]
    assert come
    refused.add(lost)  # nobody has it, and before that is known the day's budget for history is spent
    await clock.advance(1)
    acknowledge(box, window, come)
    await clock.advance(1)
    later = {m.seq for m in window.due(box, clock.monotonic())}
    assert later, "the others wait neither for it nor for as long as it does"
    assert later <= set(old) - {lost, *come}
    acknowledge(box, window, later)
    refused.clear()
    await clock.advance(10)
    assert lost in {m.seq for m in window.due(box, clock.monotonic())}
    box.close()


async def test_what_the_cloud_has_and_the_disk_has_not_let_go_is_not_chosen_and_forgotten_with_it(tmp_path):
    clock, box, window = box_and_window(tmp_path)
    seqs = put(box, 6)
    for has in ([(1, 1)], [(2, 3)]):
        window.link_lost()
        window.acknowledged(has)
    assert [m.seq for m in window.due(box, clock.monotonic())] == seqs[3:]
    with box.transaction():
        box.acknowledge(box.boot, [(1, 1)])
    window.let_go([(1, 1)])
    window.link_lost()
    assert [m.seq for m in window.due(box, clock.monotonic())] == seqs[3:4]
    assert (window.answered, window._answered) == (((2, 3),), {2, 3}), "no more than what is still there"
    box.close()


async def test_what_is_too_large_for_this_way_waits_and_stops_nobody(tmp_path):
    _, box, window = box_and_window(tmp_path, most_bytes=512)
    put(box, 1, size=2000)
    small = put(box, 1, size=300)
    assert [m.seq for m in window.due(box, 0)] == small
    assert box.counters().messages == 2
    box.close()


MIDNIGHT = 1_764_028_800_000  # UTC, of a day on which history waits for what does not fit
PER_DAY = 20_000


async def test_history_that_is_too_large_for_what_is_left_goes_in_the_end_and_stops_the_rest_for_a_day_at_most(
    tmp_path,
):
    clock = ManualClock(MIDNIGHT)
    budget, box = Budget(PER_DAY, clock), Outbox.open(tmp_path / "o.db", max_bytes=10**7, now_ms=clock.now_ms)
    window = LiveFirst(
        clock, 4, 2.0, share=1, most_bytes=10**6, admit=budget.allows, may_pass=budget.may_pass
    )  # fmt: skip
    never, large = put(box, 1, size=PER_DAY), put(box, 1, size=12_000)
    small = put(box, 100, size=300)
    sent_on = {}  # seq → day
    for hour in range(96):
        await clock.advance(3600)
        budget.spend(200)  # for what happens now
        while messages := window.due(box, clock.monotonic()):
            budget.spend(sum(len(m.payload) + 60 for m in messages))
            sent_on |= {m.seq: hour // 24 for m in messages}
            acknowledge(box, window, [m.seq for m in messages])
    assert set(sent_on) == {*large, *small}
    assert sent_on[large[0]] == 0
    assert sent_on[small[0]] <= 1, "behind the large one, but not behind the one that never goes"
    assert box.counters().queued == 1
    assert never
    box.close()


async def test_an_upload_of_now_that_the_budget_does_not_let_go_stops_no_smaller_one(tmp_path):
    _, box, window = box_and_window(tmp_path, admit=lambda m, *_: len(m.payload) < 1000)
    put(box, 40, size=2000)
    small = put(box, 2)
    acknowledge(box, window, [m.seq for m in window.due(box, 0)])
    assert [m.seq for m in window.due(box, 0.1)] == small[1:]
    box.close()


async def test_what_is_sent_together_fits_into_the_budget_together(tmp_path):
    clock = ManualClock(MIDNIGHT + 43_200_000)
    budget, box = Budget(PER_DAY, clock), Outbox.open(tmp_path / "o.db", max_bytes=10**7, now_ms=clock.now_ms)
    window = LiveFirst(clock, 64, 2.0, share=1, most_bytes=10**6, admit=budget.allows)
    old = put(box, 30, size=940)
    acknowledge(box, window, [m.seq for m in window.due(box, clock.monotonic())])
    await clock.advance(3600)
    new = put(box, 5, size=940)
    sent = window.due(box, clock.monotonic())
    assert [m.seq for m in sent] == [*new, *old[1:5]], "9750 bytes by one o'clock, a kilobyte each"
    box.close()


def test_an_agent_makes_no_upload_that_a_days_budget_does_not_carry_ten_times():
    assert upload_bytes(200_000, None) == 200_000
    assert upload_bytes(200_000, 50_000) == 5000
    assert upload_bytes(440, 50_000) == 440


def message(priority, size=1000):
    return Queued(1, priority, 1, 0, bytes(size))


async def test_a_spent_budget_silences_everything_but_alarms_until_tomorrow():
    clock = ManualClock(1_764_028_800_000)  # midnight UTC
    budget = Budget(100_000, clock)
    assert budget.allows(message(Priority.LIVE), 0)
    assert not budget.allows(message(Priority.LIVE), 1), "history waits for what the day does not need"
    await clock.advance(12 * 3600)
    assert budget.allows(message(Priority.LIVE), 1)
    budget.spend(89_500)
    assert not budget.allows(message(Priority.LIVE), 0), "a tenth is kept for alarms"
    assert budget.allows(message(Priority.ALARM), 0)
    budget.spend(50_000)
    assert budget.allows(message(Priority.ALARM), 0), "even when all is spent"
    assert budget.left == 0
    kept = Budget(100_000, clock, budget.note())
    assert kept.spent == budget.spent, "a restart is no new day"
    await clock.advance(13 * 3600)
    assert budget.allows(message(Priority.LIVE), 0)
    assert budget.left == 100_000
