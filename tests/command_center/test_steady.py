"""The clock is set, by an hour or a year, while chains, shelves and digests run: nothing fires, nothing is forgotten."""

import pytest
import sqlalchemy as sa
from desks import WANG, HandClock, deed, opened, take
from tellers import telling
from test_lifecycle import T0, transition

from command_center.steady import SteadyClock, check
from command_center.tables import notices
from telemetry.severity import Severity
from telemetry.transitions import Change

RED, ORANGE = Severity.RED, Severity.ORANGE
HOUR = 3600
STEPS = [HOUR, -HOUR, 400 * 24 * HOUR, -3 * 24 * HOUR]


class SetClock(HandClock):
    """A machine's clock that can be set, beside the time that passes."""

    def __init__(self):
        super().__init__()
        self.passed = 0.0

    def monotonic(self):
        return self.passed

    async def move(self, seconds):
        self.passed += seconds
        await super().move(seconds)

    def set_by(self, seconds):
        self.now += seconds * 1000


@pytest.fixture
def url(tmp_path):
    return f"sqlite+aiosqlite:///{tmp_path}/desk.db"


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
async def told(tmp_path, monkeypatch, url, clock):
    steady = SteadyClock(clock)
    async with telling(tmp_path, monkeypatch, url, clock, steady=steady) as one:

        async def set_by(seconds):
            clock.set_by(seconds)
            await one.turn()  # what looks before the step was seen

            def moved(by_ms):
                one.desk.shift(by_ms)
                one.teller.shift(by_ms)

            await check(steady, one.desk.store, moved)
            await one.turn()

        one.set_by, one.steady = set_by, steady
        yield one


def began(severity=RED, **more):
    return transition(0, Change.BEGAN, severity, **more)


@pytest.mark.parametrize("step", STEPS)
async def test_a_chain_goes_on_when_its_time_has_passed_and_not_when_the_clock_is_set(told, step):
    await take(told.desk, began())
    await told.turn()
    await told.over(20, step_s=5)
    await told.set_by(step)
    assert len(told.got()) == 1
    await told.over(38, step_s=19)
    assert len(told.got()) == 1, "58 s have passed"
    await told.over(4)
    assert len(told.got("aliyun_sms")) == 2
    await told.over(60, step_s=10)
    assert len(told.got("aliyun_voice")) == 2


@pytest.mark.parametrize("step", STEPS)
async def test_a_shelf_lasts_as_long_as_it_was_given(told, step):
    await take(told.desk, began(ORANGE))
    await told.turn()
    await told.desk.do(began().alarm, deed("shelve", "施工"), WANG)
    await told.set_by(step)
    assert await told.desk.tick() == []
    found, _ = await told.desk.alarm(began().alarm)
    [hold] = await told.desk.held()
    assert found.shelf.until_ms == hold["until_ms"] == T0 + step * 1000 + 15 * 60_000
    await told.clock.move(14 * 60)
    assert await told.desk.tick() == []
    await told.clock.move(61)
    assert [alarm.suppression for alarm in await told.desk.tick()] == ["none"]


@pytest.mark.parametrize("step", STEPS)
async def test_what_waits_for_a_digest_comes_when_it_would_have_come_and_does_not_expire(told, step):
    await take(told.desk, *(began(ORANGE, device=f"d{n}") for n in range(30)))
    await told.turn()
    before = len(told.got())
    await take(told.desk, *(began(ORANGE, device=f"e{n}") for n in range(30)))
    await told.set_by(step)
    await told.turn()
    assert len(told.got()) - before <= 5, "no storm of notices"
    await told.over(130, step_s=10)
    async with told.desk.store.read() as db:
        states = {row[0] for row in await db.execute(sa.select(notices.c.state).distinct())}
    assert states <= {"accepted", "bundled"}
    assert told.vendors.over_limit == {}


async def test_an_acknowledged_alarm_stays_silent_and_a_standing_one_is_not_called_stale(told):
    await take(told.desk, began())
    await told.turn()
    [alarm] = await told.desk.do(began().alarm, deed("acknowledge"), WANG)
    await told.set_by(HOUR)
    assert told.steady.now_ms() - told.desk.asserted_ms(alarm) < 1000
    await told.over(400, step_s=100)
    assert len(told.got()) == 1


async def test_the_time_that_is_stamped_is_the_new_one(told):
    await told.set_by(HOUR)
    assert told.steady.now_ms() == told.clock.now_ms() == T0 + HOUR * 1000
    told.clock.set_by(0.4)
    await check(told.steady, told.desk.store, lambda _: pytest.fail("drift is no step"))
    assert told.steady.now_ms() == told.clock.now_ms()


async def test_postgresql_moves_its_timers_too(postgres, clock):
    steady = SteadyClock(clock)
    async with opened(f"postgresql+psycopg://{postgres.create()}", steady) as desk:
        await take(desk, began(ORANGE))
        await desk.do(began().alarm, deed("shelve", "施工"), WANG)
        clock.set_by(HOUR)
        await check(steady, desk.store, desk.shift)
        [hold] = await desk.held()
        assert hold["until_ms"] == T0 + HOUR * 1000 + 15 * 60_000
