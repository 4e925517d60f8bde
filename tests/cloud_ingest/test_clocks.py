"""Whose clock is wrong, and when that is believed."""

import sys
import threading

from cloud_ingest.clocks import Offsets, shift_of

T0, MINUTE, HOUR = 1_764_000_000_000, 60_000, 3_600_000


def told(*notes):
    """``(error of the clock, delay of the way, when it was sent)``, all in ms."""
    offsets = Offsets()
    for error, delay, sent in notes:
        offsets.note("a", T0 + sent + error, T0 + sent + delay)
    return offsets.get("a")


def test_nothing_told_is_nothing_known():
    assert told() is None
    assert shift_of(-HOUR, None) == -HOUR


def test_a_clock_that_is_ahead_is_known_at_once():
    assert told((HOUR, 20, 0)) == 20 - HOUR


def test_a_message_that_waited_in_the_broker_is_not_a_clock_that_is_behind():
    assert told((0, 22_200, 0)) is None
    assert told((0, 22_200, 0), (0, 21_900, 300)) is None, "both came out of the same queue"


def test_the_next_message_that_comes_in_time_shows_that_the_clock_was_right():
    assert told((0, 22_200, 0), (0, 30, MINUTE)) == 30


def test_a_clock_that_is_behind_is_believed_when_messages_well_apart_agree():
    assert told((-HOUR, 20, 0)) is None
    assert told((-HOUR, 20, 0), (-HOUR, 900, MINUTE)) == HOUR + 20


def test_a_clock_that_was_set_is_followed():
    assert told((HOUR, 20, 0), (HOUR, 20, MINUTE), (0, 25, 2 * MINUTE)) == 25
    assert shift_of(-HOUR, 25) == 0


def test_who_asks_while_another_thread_notes_is_always_answered():
    offsets, over, interval = Offsets(), threading.Event(), sys.getswitchinterval()
    offsets.note("a", T0, T0)

    def note():
        turn = 0
        while not over.is_set():  # of a clock that is set again and again
            offsets.note("a", T0 + (turn := turn + 1) % 2 * HOUR, T0)

    noting = threading.Thread(target=note)
    sys.setswitchinterval(1e-6)
    noting.start()
    try:
        for _ in range(300_000):
            assert offsets.get("a") is not None
    finally:
        over.set()
        noting.join()
        sys.setswitchinterval(interval)
