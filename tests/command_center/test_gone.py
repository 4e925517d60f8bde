"""Who or what is taken out of ``notify.yaml`` while messages wait keeps nobody else's from going out."""

import msgspec
import pytest
from desks import take
from tellers import telling
from test_telling import RED, began, states

from command_center.teller import Teller


@pytest.fixture
async def told(tmp_path, monkeypatch, clock):
    async with telling(tmp_path, monkeypatch, f"sqlite+aiosqlite:///{tmp_path}/desk.db", clock) as one:
        yield one


async def restarted(told, people, *, without=""):
    """Let the desk start anew with other people in ``notify.yaml``, and ``without`` a channel."""
    setup = msgspec.structs.replace(told.setup.setup, people=people)
    kinds, configs = (
        {name: one for name, one in each.items() if name != without}
        for each in (told.setup.kinds, told.setup.configs)
    )
    told.setup = msgspec.structs.replace(told.setup, setup=setup, kinds=kinds, configs=configs)
    old = told.teller
    http = old._channels["sms"]._http
    told.teller = Teller(old._store, told.setup, old._telling, http, told.clock, lambda _: None)
    await told.teller.recover()


async def test_a_message_to_somebody_who_is_gone_fails_and_its_next_step_comes_at_once(told):
    await take(told.desk, began(RED))
    await restarted(told, {who: one for who, one in told.setup.setup.people.items() if who != "wang"})
    [notice, *steps] = await told.notices(began().alarm)
    assert (notice["state"], notice["code"]) == ("failed", "gone")
    assert min(one["due_ms"] for one in steps) == told.clock.now
    assert await told.teller.serve("app") is False


async def test_a_channel_that_is_gone_is_passed_over_when_another_fails(told):
    await take(told.desk, began(RED))
    wang = told.setup.setup.people["wang"]
    reach = {channel: address for channel, address in wang.reach.items() if channel != "sms"}
    told.vendors.faults["wecom_app", "wang"] = "invaliduser"
    told.setup.setup.people["wang"] = msgspec.structs.replace(wang, reach=reach)
    await told.teller.serve("app")
    assert states(await told.notices(began().alarm))[0] == ("app", "wang", "failed")


def unreached_by(told, channel):
    """Return the people of ``notify.yaml``, of whom none is reached by a channel any more."""
    return {
        who: msgspec.structs.replace(one, reach={by: to for by, to in one.reach.items() if by != channel})
        for who, one in told.setup.setup.people.items()
    }


async def test_a_message_by_a_channel_that_is_gone_fails_at_the_start_and_goes_by_the_next_one(told):
    await take(told.desk, began(RED))
    await restarted(told, unreached_by(told, "app"), without="app")
    first, second, *_ = await told.notices(began().alarm)
    assert (first["channel"], first["state"], first["code"]) == ("app", "failed", "gone")
    assert first["said"] == "notify.yaml does not name this channel"
    assert (second["channel"], second["state"], second["due_ms"]) == ("sms", "pending", told.clock.now)
    await told.teller.serve("sms")
    assert [one["address"] for one in told.got()] == ["13800000001"]


async def test_where_the_channel_that_is_gone_was_the_last_the_next_step_comes_at_once(told):
    await take(told.desk, began(RED))
    told.vendors.faults["wecom_app", "wang"] = "invaliduser"
    await told.teller.serve("app")
    await restarted(told, unreached_by(told, "sms"), without="sms")
    *notices, soon, _ = await told.notices(began().alarm)
    assert states(notices) == [("app", "wang", "failed"), ("sms", "wang", "failed")]
    assert soon["due_ms"] == told.clock.now
