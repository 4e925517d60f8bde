"""The feed played again, all of it and in any order, leaves the desk as it was; and one that is played twice, as one that is not."""

import random

import pytest
import sqlalchemy as sa
from desks import LI, WANG, HandClock, deed, opened, take
from tellers import telling
from test_lifecycle import T0, transition

from command_center.store import Store
from command_center.tables import metadata, notices
from telemetry.errors import Unavailable
from telemetry.severity import Severity
from telemetry.transitions import Change

COLOURS = [Severity.RED, Severity.ORANGE, Severity.YELLOW]


def lives(count):
    """Alarms that begin, worsen and end, two rules on each of a few devices."""
    dice = random.Random(5)
    for n in range(count):
        who = {"device": f"d{n % 4}", "rule": f"r{n % 2}", "began": T0 + n * 40_000}
        colour = dice.choice(COLOURS)
        yield transition(0, Change.BEGAN, colour, **who)
        if dice.random() < 0.5:
            yield transition(1, Change.WORSENED, Severity.RED, **who)
        if dice.random() < 0.7:
            yield transition(2, Change.ENDED, colour, **who)


async def dump(store):
    """Every row of every table of the desk."""
    found = {}
    async with store.read() as db:
        for table in metadata.sorted_tables:
            rows = await db.execute(sa.select(table))
            found[table.name] = sorted(map(repr, rows.all()))
    return found


async def test_what_was_played_once_changes_nothing_when_it_is_played_again(
    tmp_path, monkeypatch, url, clock
):
    async with telling(tmp_path, monkeypatch, url, clock) as told:
        stream = list(lives(24))
        for one in stream:
            await take(told.desk, one)
        await told.desk.do(stream[0].alarm, deed("comment", "已派人"), WANG)
        before = await dump(told.desk.store)
        assert len(before["alarms"]) == 24
        assert before["notices"]
        assert await take(told.desk, *stream) == []
        for one in reversed(stream):
            assert await take(told.desk, one) == []
        assert await dump(told.desk.store) == before


def seen(alarms):
    """What an alarm is, without how often and when it was written down."""
    return sorted(
        (
            a.id,
            a.state,
            a.severity,
            a.worst,
            a.began_ms,
            a.active,
            a.ordinal,
            a.ended_ms if not a.active else 0,
        )
        for a in alarms
    )


async def test_one_by_one_all_at_once_and_each_twice_end_in_the_same_desk(tmp_path):
    stream, ends = list(lives(24)), []
    plays = (
        [[one] for one in stream],
        [stream],
        [[one, one] for one in stream],
        [stream[n : n + 7] + stream[max(0, n - 7) : n + 7] for n in range(0, len(stream), 7)],
    )
    for n, play in enumerate(plays):
        async with opened(f"sqlite+aiosqlite:///{tmp_path}/desk{n}.db", HandClock()) as desk:
            for batch in play:
                await take(desk, *batch)
            ends.append(seen(await desk.alarms(only_open=False, limit=999)))
    assert len(ends[0]) == 24
    assert ends[1:] == ends[:1] * 3


async def test_what_a_vendor_took_while_the_database_was_away_is_noted_later_and_not_sent_again(
    tmp_path, monkeypatch, url, clock
):
    async with telling(tmp_path, monkeypatch, url, clock) as told:
        await take(told.desk, transition(0, Change.BEGAN, Severity.RED))
        change, misses = Store.change, []

        def away(store):
            if told.got() and len(misses) < 3:  # the vendor has it, and now the database is gone
                misses.append(store)
                raise Unavailable("desk: gone")
            return change(store)

        monkeypatch.setattr(Store, "change", away)
        monkeypatch.setattr(clock, "sleep", clock.move)
        await told.turn()
        assert len(misses) == 3
        assert next(one["state"] for one in await told.notices(told_alarm())) == "accepted"
        assert len(told.got()) == 1


async def test_what_was_noted_as_sending_and_never_sent_is_taken_up_in_the_same_words(
    tmp_path, monkeypatch, url, clock
):
    async with telling(tmp_path, monkeypatch, url, clock) as told:
        await take(told.desk, transition(0, Change.BEGAN, Severity.RED))
        mark = told.teller._sending

        async def marks_and_fails(rows, now):
            marked = await mark(rows, now)
            if rows:
                raise Unavailable("desk: the answer to the commit was lost")
            return marked

        monkeypatch.setattr(told.teller, "_sending", marks_and_fails)
        with pytest.raises(Unavailable):
            await told.teller.serve("app")
        async with told.desk.store.read() as db:
            states = (await db.execute(sa.select(notices.c.state))).scalars().all()
        assert states == ["sending"]
        monkeypatch.setattr(told.teller, "_sending", mark)
        await take(told.desk, transition(1, Change.ENDED, Severity.RED))  # its value is another by now
        await told.turn()
        [first, *_] = told.got()
        assert first["text"].split("\n")[2] == "90degC", "the same words, by which a vendor knows it again"


async def test_a_digest_that_fails_is_sent_again_as_it_was(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock) as told:
        orange = [transition(0, Change.BEGAN, Severity.ORANGE, device=f"d{n}") for n in range(20)]
        await take(told.desk, *orange[:4])
        await told.turn()
        told.vendors.faults["wecom_app", ""] = "45009"
        await take(told.desk, *orange[4:])
        await told.over(3)
        told.vendors.faults.clear()
        await told.over(20)
        [digest] = [one for one in told.got() if "汇总" in one["text"]]
        assert digest["text"].startswith("[汇总] 16 条告警")
        await told.desk.do(orange[0].alarm, deed("acknowledge"), LI)


def told_alarm():
    return transition(0, Change.BEGAN, Severity.RED).alarm
