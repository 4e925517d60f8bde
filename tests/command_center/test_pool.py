"""Robots of one group take turns, none over its vendor's limit, and what can wait keeps away from Feishu's full hours."""

import hypothesis.strategies as st
import pytest
from desks import take
from hypothesis import given
from tellers import SETUP, telling
from test_lifecycle import transition
from test_telling import began, states

from command_center import policies
from command_center.channel import Limits
from command_center.channels import feishu_robot
from command_center.limits import FOR_ALL, Limiter
from simulators.vendors import ROBOTS
from telemetry.errors import ConfigError
from telemetry.severity import Severity
from telemetry.transitions import Change

HOUR_MS = 3_600_000
POOLS = {
    "robot": ('kind: wecom_robot, key: "env:FAKE_KEY"', 'pool: ["env:FAKE_2", "env:FAKE_3"]'),
    "ding": ('kind: dingtalk_robot, token: "env:FAKE_KEY"', 'pool: [{{token: "env:FAKE_2", secret: "env:FAKE_SECRET"}}, {{token: "env:FAKE_3", secret: "env:FAKE_SECRET"}}]'),
    "feishu": ('kind: feishu_robot, token: "env:FAKE_KEY"', 'pool: [{{token: "env:FAKE_2", secret: "env:FAKE_SECRET"}}, {{token: "env:FAKE_3", secret: "env:FAKE_SECRET"}}]'),
}  # fmt: skip


def setup(channel, colour="red", by=""):
    """Who is told of a colour: the room, by this channel whose robots are a pool."""
    head, pool = POOLS[channel]
    text = SETUP.replace(head, f"{head}, {pool}").replace("tell: [duty], by: [app, sms]", f"tell: [room], by: [{channel}{by}]")  # fmt: skip
    return (
        text.replace("tell: [duty], by: [app]", f"tell: [room], by: [{channel}]") if colour != "red" else text
    )


@pytest.fixture
def opening(tmp_path, monkeypatch, url, clock):
    monkeypatch.setenv("FAKE_2", ROBOTS[1])
    monkeypatch.setenv("FAKE_3", ROBOTS[2])
    return lambda channel, *more: telling(tmp_path, monkeypatch, url, clock, setup(channel, *more))


def used(told, vendor):
    return {robot: len(told.vendors._times[vendor, robot]) for robot in ROBOTS}


@pytest.mark.parametrize(("channel", "vendor"), [("robot", "wecom_robot"), ("ding", "dingtalk_robot")])
async def test_three_robots_tell_a_group_of_fifty_red_alarms_in_a_minute_and_none_is_too_fast(
    opening, channel, vendor
):
    async with opening(channel) as told:
        await take(told.desk, *(began(device=f"d{n}") for n in range(50)))
        await told.over(20, step_s=2)
        assert len(told.got(vendor)) == 50
        assert sorted(used(told, vendor).values()) == [16, 17, 17]
        assert told.vendors.over_limit == {}


async def test_after_a_restart_each_robot_has_what_it_had(opening):
    async with opening("robot") as told:
        await take(told.desk, *(began(device=f"d{n}") for n in range(50)))
        await told.over(5)
        before = told.teller._limiters["robot"]
        before_lanes = [len(lane) for lane in before._lanes]
        told.teller._limiters["robot"] = Limiter(told.setup.kinds["robot"].LIMITS, 3)
        await told.teller.recover()
        assert [len(lane) for lane in told.teller._limiters["robot"]._lanes] == before_lanes
        assert min(before_lanes) > 10
        await take(told.desk, *(began(device=f"e{n}") for n in range(50)))
        await told.over(54, step_s=9)
        assert told.vendors.over_limit == {}


async def test_a_robot_that_the_vendor_rests_is_left_out_and_the_others_go_on(opening):
    async with opening("ding") as told:
        told.vendors.faults["dingtalk_robot", ROBOTS[1]] = "130101"
        await take(told.desk, *(began(device=f"d{n}") for n in range(9)))
        await told.over(5)
        assert len(told.got("dingtalk_robot")) == 9
        assert not told.teller._limiters["ding"].is_blocked(told.clock.now)
        for n in range(9):
            assert states(await told.notices(began(device=f"d{n}").alarm))[0] == ("ding", "room", "accepted")


async def test_a_robot_that_was_thrown_out_of_the_group_costs_a_second_and_not_the_message(opening):
    async with opening("feishu") as told:
        told.vendors.faults["feishu_robot", ROBOTS[0]] = "19001"
        await take(told.desk, *(began(device=f"d{n}") for n in range(6)))
        await told.over(5)
        assert len(told.got("feishu_robot")) == 6


async def test_near_a_full_hour_feishu_hears_what_is_red_and_the_rest_a_little_later(opening, clock):
    clock.now += HOUR_MS - clock.now % HOUR_MS - 5_000
    async with opening("feishu", "orange") as told:
        await take(told.desk, transition(0, Change.BEGAN, Severity.ORANGE, device="low"))
        await told.over(14)
        assert told.got() == []
        await told.over(3)
        [one] = told.got("feishu_robot")
        assert one["at"] % 1800 >= 10
    clock.now += HOUR_MS - clock.now % HOUR_MS - 5_000


async def test_a_red_alarm_does_not_wait_for_the_hour(opening, clock):
    clock.now += HOUR_MS - clock.now % HOUR_MS
    async with opening("feishu") as told:
        await take(told.desk, began())
        await told.turn()
        assert len(told.got("feishu_robot")) == 1


@pytest.mark.parametrize("channel", POOLS)
def test_the_same_robot_twice_in_a_pool_is_refused(tmp_path, monkeypatch, channel):
    for name in ("KEY", "2", "3"):
        monkeypatch.setenv(f"FAKE_{name}", ROBOTS[0])
    monkeypatch.setenv("FAKE_SECRET", "s")
    path = tmp_path / "notify.yaml"
    path.write_text(setup(channel).format(url="http://127.0.0.1:1"), "utf-8")
    with pytest.raises(ConfigError, match=rf"\$\.channels\.{channel}: pool: the same robot is there twice"):
        policies.load(path)


@given(
    st.lists(st.tuples(st.integers(0, 4000), st.booleans(), st.sampled_from(["", "", "", "block"])), max_size=200),
    st.integers(1, 4),
)  # fmt: skip
def test_no_lane_is_ever_over_its_limit_and_one_that_rests_is_never_taken(steps, lanes):
    limits = Limits(credentials=((4, 1.0), (18, 60.0)))
    limiter, now = Limiter(limits, lanes), 0
    sent = {lane: [] for lane in range(lanes)}
    resting = dict.fromkeys(range(lanes), 0)
    for pause, urgent, what in steps:
        now += pause
        lane = limiter.take("room", now, urgent=urgent)
        if lane is None:
            free = [n for n in range(lanes) if now >= resting[n] and sum(at > now - 60_000 for at in sent[n]) < 18 * FOR_ALL - 1 and sum(at > now - 1000 for at in sent[n]) < 2]  # fmt: skip
            assert not free
            continue
        assert now >= resting[lane]
        sent[lane].append(now)
        for most, seconds in limits.credentials:
            assert sum(at > now - seconds * 1000 for at in sent[lane]) <= most
        if what:
            limiter.block(now + 5000, lane)
            resting[lane] = now + 5000


@pytest.mark.parametrize(("second", "waits"), [(0, True), (9, True), (10, False), (1789, False), (1790, True), (1799, True), (900, False)])  # fmt: skip
def test_ten_seconds_on_both_sides_of_the_half_hour(second, waits):
    now = 1_764_000_000_000 - 1_764_000_000_000 % 1_800_000 + second * 1000
    limiter = Limiter(feishu_robot.LIMITS)
    assert (limiter.take("room", now, urgent=False) is None) == waits
    assert limiter.take("room", now, urgent=True) == 0
