"""Plans: which one and why, what they order, and that an exercise reaches nothing."""

import asyncio
import contextlib

import aiomqtt
import pytest
import sqlalchemy as sa
from desks import LI, T0, WANG, deed, opened, take
from test_lifecycle import transition
from waiting import wait_until

from command_center import plans, runs
from command_center.config import load_config
from command_center.linkage import Linkage, advance, command_of
from command_center.planner import Planner
from command_center.tables import actions as table
from telemetry import codecs, topics
from telemetry.codecs import json
from telemetry.commands import Command, CommandResult, CommandState
from telemetry.errors import ConfigError, Refused
from telemetry.severity import Severity
from telemetry.transitions import Change

PLANS = """
plans:
  - id: general
    title: {zh: 通用, en: General}
    response: III
    match: {severity: [red, orange]}
  - id: charger
    title: {zh: 充电桩, en: Charger}
    response: II
    match: {class: [ev_charger], severity: [red]}
    checklist: [{do: {zh: 核实, en: Check}, owner: 值班员, within_s: 60}]
    actions:
      - {id: cut, title: {zh: 切断, en: Cut}, metric: charging_enabled, value: 0, undo: 1, interlock: automatic}
      - {id: light, title: {zh: 调亮, en: Brighten}, metric: dimming, value: 100, undo: 40, interlock: one, around: {class: lamp_pole_controller, within_m: 100}}
      - {id: siren, title: {zh: 警笛, en: Siren}, metric: current_limit, value: 1}
  - {id: night, title: {zh: 夜间, en: Night}, response: I, match: {class: [ev_charger], severity: [red]}, hours: {begin: "22:00", end: "06:00"}, dry_run: true, actions: [{id: cut, title: {zh: 切断, en: Cut}, metric: charging_enabled, value: 0, interlock: automatic}]}
dwell_s: 30
"""
DEVICES = [
    {"id": "d", "class": "ev_charger", "agent": "edge-1", "lon": 115.9, "lat": 31.85, "site": "s1"},
    {
        "id": "near",
        "class": "lamp_pole_controller",
        "agent": "edge-1",
        "lon": 115.9008,
        "lat": 31.85,
    },  # 76 m east
    {"id": "far", "class": "lamp_pole_controller", "agent": "edge-2", "lon": 115.9012, "lat": 31.85},  # 113 m
]
NOON, NIGHT = T0 + 12 * 3_600_000, T0 + 22 * 3_600_000  # T0 is midnight in the city


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "plans.yaml"
    path.write_text(PLANS, "utf-8")
    return plans.load(path)


@pytest.fixture
async def desk(url, clock, book):
    clock.now = NOON
    planner = Planner(book, lambda: DEVICES)
    async with opened(url, clock, followers=[planner]) as one:
        one.planner = planner
        yield one


def began(severity=Severity.RED, **more):
    return transition(0, Change.BEGAN, severity, **{"began": NOON, **more})


async def run_of(desk, alarm):
    async with desk.store.read() as db:
        return await runs.of_run(db, alarm, desk.planner.plans)


async def change(desk, what, *arguments):
    async with desk.store.change() as db:
        return await what(db, *arguments)


async def test_the_plan_with_most_fields_wins_and_says_why(desk):
    await take(desk, began(), began(Severity.ORANGE, device="e", rule="q"), began(Severity.BLUE, device="f"))
    run = await run_of(desk, began().alarm)
    assert (run["plan"], run["response"], run["mode"], run["clauses"]) == (
        "charger",
        "II",
        "live",
        {"severity": True, "class": True},
    )
    assert (await run_of(desk, began(device="e", rule="q").alarm))["plan"] == "general"
    assert (await run_of(desk, began(device="f").alarm))["plan"] is None, (
        "that nothing is planned is itself a record"
    )


async def test_matching_is_the_same_whatever_the_order_of_the_file(book):
    import itertools

    import msgspec

    from command_center.lifecycle import apply

    alarm = apply(None, began(), NOON)
    for order in itertools.permutations(book.plans):
        choice = plans.choose(msgspec.structs.replace(book, plans=order), alarm, "s1", NOON)
        assert choice.plan.id == "charger"
        assert choice.clauses["night"] == {"severity": True, "class": True, "hours": False}
    newer = msgspec.structs.replace(book.plans[1], id="newer", version=2)
    assert (
        plans.choose(msgspec.structs.replace(book, plans=(*book.plans, newer)), alarm, "s1", NOON).plan.id
        == "newer"
    )


def test_the_coverage_report_names_every_class_and_colour_without_a_plan(book):
    rows = {
        (row["class"], row["severity"]): row for row in plans.coverage(book, ["ev_charger", "air_monitor"])
    }
    assert len(rows) == 8
    assert rows["ev_charger", "red"]["always"] == ["general", "charger"]
    assert [key for key, row in rows.items() if not row["plans"]] == [(c, s) for c in ("air_monitor", "ev_charger") for s in ("yellow", "blue")]  # fmt: skip


async def test_the_actions_reach_the_device_itself_and_those_around_it_by_interlock(desk):
    await take(desk, began())
    actions = (await run_of(desk, began().alarm))["actions"]
    assert {(a["action"], a["device"], a["state"]) for a in actions} == {
        ("cut", "d", "requested"), ("light", "near", "waiting"), ("siren", "d", "waiting"),
    }  # fmt: skip


async def test_an_action_that_finds_no_device_says_so(desk):
    await take(desk, began(device="nowhere"))
    [light] = [
        a for a in (await run_of(desk, began(device="nowhere").alarm))["actions"] if a["action"] == "light"
    ]
    assert (light["state"], light["problem"]) == ("failed", "no 'lamp_pole_controller' within 100 m")


async def test_plans_that_follow_from_each_other_are_held_at_the_sixth(desk, clock):
    clock.now = NOON
    states = []
    for n in range(7):
        alarm = began(rule=f"r{n}", began=NOON + n * 31_000)
        await take(desk, alarm)
        [cut] = [a for a in (await run_of(desk, alarm.alarm))["actions"] if a["action"] == "cut"]
        states.append((cut["state"], cut.get("problem", "")))
        clock.now += 31_000
    assert [state for state, _ in states] == ["requested"] * 5 + ["held"] * 2
    assert states[5][1] == "loop breaker: more than 5 plans followed from each other's actions"


async def test_two_people_are_two_people(desk, clock):
    await take(desk, began())
    by_name = {a["action"]: a["id"] for a in (await run_of(desk, began().alarm))["actions"]}
    assert await change(desk, runs.approve, by_name["light"], WANG, clock.now) == "requested"
    assert await change(desk, runs.approve, by_name["siren"], WANG, clock.now) == "waiting"
    with pytest.raises(Refused, match="another person is needed"):
        await change(desk, runs.approve, by_name["siren"], WANG, clock.now)
    assert await change(desk, runs.approve, by_name["siren"], LI, clock.now) == "requested"
    with pytest.raises(Refused, match="it does not wait"):
        await change(desk, runs.approve, by_name["cut"], LI, clock.now)


async def test_a_checklist_is_ticked_off_once_by_somebody(desk, clock, book):
    await take(desk, began())
    await change(desk, runs.tick_off, began().alarm, 0, book, WANG, clock.now)
    with pytest.raises(Refused, match="already done by 王建国"):
        await change(desk, runs.tick_off, began().alarm, 0, book, LI, clock.now)
    assert (await run_of(desk, began().alarm))["checklist"][0]["done"] == ("王建国", NOON) or (
        await run_of(desk, began().alarm)
    )["checklist"][0]["done"] == ["王建国", NOON]


async def test_an_actuator_is_not_moved_again_at_once_and_a_plan_that_runs_wild_is_held(desk, clock):
    await take(desk, began())
    await take(desk, transition(1, Change.ENDED, began=NOON))
    clock.now += 5_000
    await take(desk, began(began=NOON + 5_000))
    [cut] = [
        a for a in (await run_of(desk, began(began=NOON + 5_000).alarm))["actions"] if a["action"] == "cut"
    ]
    assert (cut["state"], cut.get("problem", "")) == (
        "held",
        "loop breaker: 'charging_enabled' of 'd' was set less than 30 s ago",
    )
    await take(desk, *(began(device=f"c{n}") for n in range(30)))
    async with desk.store.read() as db:
        rows = (await db.execute(sa.select(table.c.state).where(table.c.metric == "charging_enabled"))).all()
    assert sum(row.state == "requested" for row in rows) == 20


async def test_an_exercise_and_a_dry_run_are_recorded_and_refuse_to_become_commands(desk, clock):
    clock.now = NIGHT
    await take(desk, began(began=NIGHT))
    run = await run_of(desk, began(began=NIGHT).alarm)
    assert (run["plan"], run["mode"], [a["state"] for a in run["actions"]]) == (
        "night",
        "dry_run",
        ["dry_run"],
    )
    key = await change(desk, desk.planner.drill, "charger", "d", WANG, clock.now)
    drill = await run_of(desk, key)
    assert (drill["mode"], {a["state"] for a in drill["actions"]}) == ("drill", {"drill"})
    async with desk.store.read() as db:
        for row in (await db.execute(sa.select(table))).all():
            with pytest.raises(Refused, match="reaches no device"):
                command_of(row, "center", None)
    for action in drill["actions"]:
        with pytest.raises(Refused):
            await change(desk, runs.approve, action["id"], WANG, clock.now)
        with pytest.raises(Refused):
            await change(desk, runs.undo, action["id"], WANG, clock.now)


def result(state, problem=""):
    return CommandResult("c", "d", CommandState(state), NOON, problem=problem)


@pytest.mark.parametrize(
    ("before", "told", "after"),
    [
        ("sent", result("accepted"), "accepted"),
        ("accepted", result("executed"), "executed"),
        ("executed", result("accepted"), "executed"),  # late news
        ("executed", result("verified"), "verified"),
        ("verified", result("failed"), "verified"),  # the first final one counts
        ("sent", result("refused", "repeated: 'c' was taken before and is verified"), "verified"),
        ("sent", result("refused", "repeated: 'c' was taken before and is accepted"), "accepted"),
        ("sent", result("refused", "'center' may not set 'siren' of 'd'"), "refused"),
        ("drill", result("verified"), "drill"),
    ],
)
def test_an_action_goes_forward_only(before, told, after):
    assert advance(before, told) == after


async def test_over_a_real_broker_only_live_actions_leave_and_come_back_verified(
    desk, clock, mosquitto, tmp_path
):
    (tmp_path / "center.toml").write_text(
        f'area = "test"\nbroker = {{ host = "127.0.0.1", port = {mosquitto.port} }}\ndata = {{ url = "http://x" }}\n',
        "utf-8",
    )
    heard = []

    class Wall:  # the agent's times are real ones
        def now_ms(self):
            return clock.now

        sleep = staticmethod(asyncio.sleep)

    agents = {device["id"]: device["agent"] for device in DEVICES}
    linkage = Linkage(load_config(tmp_path / "center.toml"), desk.store, Wall(), agents.get, lambda _: None)

    async def agent():
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            await client.subscribe(topics.cmd("test", "+"), 1)
            async for message in client.messages:
                command = codecs.decode(bytes(message.payload), Command, max_bytes=10_000)
                heard.append((str(message.topic), command))
                for state in ("accepted", "executed", "verified"):
                    told = CommandResult(
                        command.id, command.device, CommandState(state), clock.now, read_back=command.value
                    )
                    await client.publish(topics.cmd_result("test", "edge-1"), json.encode(told), 1)

    tasks = [asyncio.ensure_future(agent()), asyncio.ensure_future(linkage.run())]
    try:
        key = await change(desk, desk.planner.drill, "charger", "d", WANG, clock.now)
        await take(desk, began())

        async def verified():
            return [a for a in (await run_of(desk, began().alarm))["actions"] if a["state"] == "verified"]

        [cut] = await wait_until(verified, 15, "the cut to be verified")
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    [(topic, command)] = heard
    assert (topic, command.device, command.metric, command.value, command.expect) == (
        "yemai/v1/test/edge-1/cmd",
        "d",
        "charging_enabled",
        0,
        0,
    )
    assert command.not_after == NOON + 30_000
    assert (cut["read_back"], cut["steps"][0][0]) == (0, "requested")
    assert {a["state"] for a in (await run_of(desk, key))["actions"]} == {"drill"}
    back = await change(desk, runs.undo, cut["id"], WANG, clock.now)
    [undo] = [a for a in (await run_of(desk, began().alarm))["actions"] if a["id"] == back]
    assert (undo["value"], undo["state"]) == (1, "requested")


async def test_an_agent_that_never_answers_lets_the_action_expire(desk, clock, tmp_path):
    (tmp_path / "center.toml").write_text(
        'area = "test"\nbroker = { host = "h" }\ndata = { url = "http://x" }\n', "utf-8"
    )
    linkage = Linkage(
        load_config(tmp_path / "center.toml"), desk.store, clock, lambda _: "edge-1", lambda _: None
    )
    await take(desk, began())
    clock.now += 41_000
    await linkage._expire()
    states = {a["action"]: a["state"] for a in (await run_of(desk, began().alarm))["actions"]}
    assert states == {"cut": "expired", "light": "waiting", "siren": "waiting"}


async def test_what_came_to_its_end_a_moment_ago_does_not_expire(desk, clock, tmp_path):
    (tmp_path / "center.toml").write_text(
        'area = "test"\nbroker = { host = "h" }\ndata = { url = "http://x" }\n', "utf-8"
    )
    linkage = Linkage(
        load_config(tmp_path / "center.toml"), desk.store, clock, lambda _: "edge-1", lambda _: None
    )
    await take(desk, began())
    clock.now += 41_000
    note = linkage._note

    async def verified_first(key, *more, **words):  # the last word comes between looking and noting
        await note(
            key, lambda state: advance(state, CommandResult(key, "d", CommandState.VERIFIED, clock.now))
        )
        await note(key, *more, **words)

    linkage._note = verified_first
    await linkage._expire()
    states = {a["action"]: a["state"] for a in (await run_of(desk, began().alarm))["actions"]}
    assert states["cut"] == "verified"


async def test_an_acknowledged_alarm_that_worsens_gets_the_plan_of_its_colour(desk):
    await take(desk, began(Severity.ORANGE))
    await desk.do(began().alarm, deed("acknowledge"), WANG)
    assert (await run_of(desk, began().alarm))["plan"] == "general"
    await take(desk, transition(1, Change.WORSENED, Severity.RED, began=NOON))
    assert (await run_of(desk, began().alarm))["plan"] == "charger"


@pytest.mark.parametrize(
    ("change_", "message"),
    [
        (("id: night", "id: charger"), "$.plans[2].id: 'charger' is there twice"),
        (("severity: [red, orange]", "severity: [purple]"), "$.plans[0].match.severity: no colour 'purple'; red, orange, yellow or blue"),
        (('begin: "22:00"', 'begin: "10pm"'), '$.plans[2].hours.begin: no time of day; like "08:00"'),
        (("id: siren", "id: cut"), "$.plans[1].actions[0].id: 'cut' is there twice"),
        (("response: III", "response: V"), "$.plans[0].response: no 'V'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_plans_is_one_sentence(tmp_path, change_, message):
    path = tmp_path / "plans.yaml"
    path.write_text(PLANS.replace(*change_, 1), "utf-8")
    with pytest.raises(ConfigError) as raised:
        plans.load(path)
    assert str(raised.value).startswith(f"{path}: {message}")
