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


async def restarted(told, people):
    """Let the desk start anew with other people in ``notify.yaml``."""
    setup = msgspec.structs.replace(told.setup.setup, people=people)
    told.setup = msgspec.structs.replace(told.setup, setup=setup)
    old = told.teller
    told.teller = Teller(old._store, told.setup, old._telling, None, told.clock, lambda _: None)
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
