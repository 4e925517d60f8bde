"""One slow vendor, one broken channel, one person who may hear no more: each costs itself alone."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
import sqlalchemy as sa
from desks import take
from tellers import SETUP, telling
from test_lifecycle import T0
from test_telling import ORANGE, RED, began, states
from waiting import wait_until

from command_center.tables import notices as table

BOTH = SETUP.replace("tell: [duty], by: [app]", "tell: [duty, li], by: [app]")
TEXTS = SETUP.replace("tell: [duty], by: [app, sms]", "tell: [duty, li], by: [sms]")


@asynccontextmanager
async def at_work(told):
    """Let the teller run, by a clock that goes on as it does."""
    task = asyncio.create_task(told.teller.run())

    async def goes_on(until):
        async def reached():
            assert not task.done(), "the teller ended"
            await told.clock.move(0.5)
            found = until()
            return await found if asyncio.iscoroutine(found) else found

        await wait_until(reached)

    try:
        yield goes_on
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_a_red_message_waits_for_no_answer_to_somebody_elses(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock, BOTH) as told:
        app, slow, answers = told.teller._channels["app"], [], asyncio.Event()
        send = app.send

        async def sends(message, address):
            if not message.urgent:
                slow.append(message.id)
                await answers.wait()
            return await send(message, address)

        app.send = sends
        async with at_work(told) as goes_on:
            await take(told.desk, began(ORANGE, device="slow"))
            await goes_on(lambda: len(slow) == 2)
            await take(told.desk, began(RED, device="fire", began=T0 + 60_000))
            await goes_on(lambda: any("fire" in one["text"] for one in told.got("wecom_app")))
            assert not any("slow" in one["text"] for one in told.got())
            answers.set()
            await goes_on(lambda: len([one for one in told.got() if "slow" in one["text"]]) == 2)
        assert len(slow) == 2, "nothing is sent twice for that"


async def test_a_channel_that_breaks_costs_itself_alone_and_the_next_one_is_taken(told_):
    told = told_

    async def breaks(_message, address):
        raise KeyError(f"secret of {address}")

    told.teller._channels["app"].send = breaks
    await take(told.desk, began(RED))

    async def is_told():
        return ("sms", "wang", "accepted") in states(await told.notices(began().alarm))

    async with at_work(told) as goes_on:
        await goes_on(is_told)
    first, second, *_ = await told.notices(began().alarm)
    assert (first["state"], first["code"], second["state"]) == ("failed", "broken", "accepted")
    assert "secret" not in first["said"]


async def test_words_that_cannot_be_made_fail_their_notice_alone(told_):
    told = told_
    message = told.teller._letters.message

    async def words(row, body):
        if row.alarm == began(RED).alarm:
            raise IndexError(row.id)
        return await message(row, body)

    told.teller._letters.message = words
    await take(told.desk, began(RED), began(RED, device="other", began=T0 + 60_000))
    await told.turn()
    assert any("other" in one["text"] for one in told.got("wecom_app"))
    assert states(await told.notices(began().alarm))[0] == ("app", "wang", "failed")


async def test_an_answer_that_cannot_be_recorded_is_said_and_its_message_goes_out_once(told_, monkeypatch):
    told = told_

    async def breaks(row, *_):
        raise LookupError(row.id)

    monkeypatch.setattr(told.teller, "_record", breaks)
    await take(told.desk, began(ORANGE))
    await told.turn()
    assert len(told.got()) == 1
    assert states(await told.notices(began(ORANGE).alarm)) == [("app", "wang", "sending")]
    assert told.faults.count() == 1


@pytest.fixture
async def told_(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock) as one:
        yield one


async def test_who_may_hear_no_more_now_holds_up_nobody_else(tmp_path, monkeypatch, url, clock):
    async with telling(tmp_path, monkeypatch, url, clock, TEXTS) as told:
        many = [began(RED, device=f"d{n}", began=T0 + n * 60_000) for n in range(130)]
        await take(told.desk, *many)
        async with told.desk.store.change() as db:  # as if all of li's had come a moment later
            await db.execute(table.update().where(table.c.person == "li").values(due_ms=table.c.due_ms + 1))
        await clock.move(1)
        for _ in range(3):
            await told.teller.serve("sms")
        async with told.desk.store.read() as db:
            heard = sa.select(table.c.person).where(table.c.state == "accepted").distinct()
            assert {row.person for row in await db.execute(heard)} == {"wang", "li"}
