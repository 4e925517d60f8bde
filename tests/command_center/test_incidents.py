"""Incidents: which alarms are one business and why, what people change about that, and when it is over."""

import asyncio
import itertools
import random
import tempfile

import msgspec
import pytest
import sqlalchemy as sa
from desks import LI, T0, WANG, HandClock, deed, message, opened, take
from sqlalchemy.exc import OperationalError
from test_lifecycle import transition

from command_center import audit, incident_deeds, places, plans, runs
from command_center.correlation import Windows
from command_center.incident_view import Reader
from command_center.incidents import Incidents
from command_center.places import Ground
from command_center.planner import Planner
from command_center.tables import actions, incidents
from telemetry.errors import ConfigError, Refused, Unavailable
from telemetry.severity import Severity
from telemetry.transitions import Change

PLANS = """
plans:
  - id: charger
    title: {zh: 充电桩, en: Charger}
    response: II
    match: {class: [ev_charger], severity: [red]}
    checklist: [{do: {zh: 核实, en: Check}, owner: 值班员, within_s: 60}]
    actions: [{id: light, title: {zh: 调亮, en: Brighten}, metric: dimming, value: 100, interlock: one, around: {class: lamp_pole_controller, within_m: 100}}]
"""
DEVICES = {
    "d": {"id": "d", "class": "ev_charger", "agent": "e", "site": "s1", "lon": 115.9000, "lat": 31.85},
    "e": {"id": "e", "class": "ev_charger", "agent": "e", "site": "s1", "lon": 115.9100, "lat": 31.85},
    "near": {"id": "near", "class": "lamp_pole_controller", "site": "s2", "lon": 115.9006, "lat": 31.85},  # 57 m east of d
    "far": {"id": "far", "class": "ev_charger", "site": "s3", "lon": 115.9500, "lat": 31.85},
    "fed": {"id": "fed", "class": "ev_charger", "site": "s4", "lon": 115.9600, "lat": 31.85},
}  # fmt: skip
SITES = {
    "s1": {"district": "叶集", "street": "东街", "name": {"zh": "甲站", "en": "Site A"}},
    "s2": {"district": "叶集", "street": "东街", "name": {"zh": "乙站", "en": "Site B"}},
    "s3": {"district": "叶集", "street": "西街", "name": {"zh": "丙站", "en": "Site C"}},
    "s4": {"district": "叶集", "street": "西街", "name": {"zh": "丁站", "en": "Site D"}},
}
PLACES = """
groups: [{id: f1, kind: feeder, devices: [d, fed]}]
cameras:
  - {id: cam-2, name: {zh: 路口, en: Crossing}, lon: 115.9010, lat: 31.85, url: "https://video.example/cam-2"}
  - {id: cam-1, name: {zh: 车棚, en: Shed}, lon: 115.9002, lat: 31.85, url: "https://video.example/cam-1"}
  - {id: cam-9, name: {zh: 远处, en: Far off}, lon: 115.9900, lat: 31.85, url: "https://video.example/cam-9"}
"""


@pytest.fixture
def known(tmp_path):
    path = tmp_path / "places.yaml"
    path.write_text(PLACES, "utf-8")
    return places.load(path)


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "plans.yaml"
    path.write_text(PLANS, "utf-8")
    return plans.load(path)


def grouping(known, book=None):
    return Incidents(Windows(), Ground(known, lambda: DEVICES, Windows()), lambda: SITES, book)


@pytest.fixture
async def desk(url, clock, known, book):
    parts = grouping(known, book)
    planner = Planner(book, lambda: list(DEVICES.values()))
    async with opened(url, clock, followers=[planner, parts]) as one:
        one.parts, one.reader, one.book = parts, Reader(book, None, lambda _: None), book
        yield one


def began(device="d", after_s=0, rule="r", severity=Severity.RED, **more):
    return transition(
        0, Change.BEGAN, severity, device=device, rule=rule, began=T0 + int(after_s * 1000), **more
    )


def ended(device="d", after_s=0, rule="r"):
    return transition(1, Change.ENDED, device=device, rule=rule, began=T0 + int(after_s * 1000))


async def all_of(desk, *, only_open=True):
    async with desk.store.read() as db:
        return await desk.reader.some(db, only_open=only_open, limit=100)


async def one_of(desk, key):
    async with desk.store.read() as db:
        return await desk.reader.one(db, key)


async def incident_of(desk, news):
    for found in await all_of(desk, only_open=False):
        whole = await one_of(desk, found["id"])
        if any(member["id"] == news.alarm for member in whole["members"]):
            return whole
    return None


async def change(desk, what, *arguments):
    async with desk.store.change() as db:
        return await what(db, *arguments)


@pytest.mark.parametrize(
    ("second", "tie", "why"),
    [
        (began(rule="q", after_s=1700), "device", "the same device, 1700 s apart"),
        (began("fed", after_s=250), "group", "both belong to feeder f1, 250 s apart"),
        (began("e", after_s=100), "site", "the same site as d, 100 s apart"),
        (began("near", after_s=60), "near", "57 m from d, 60 s apart"),
        (began("near", after_s=-60), "near", "57 m from d, 60 s apart"),
    ],
)  # fmt: skip
async def test_what_is_near_in_time_and_place_is_one_incident_that_says_why(desk, second, tie, why):
    await take(desk, began())
    await take(desk, second)
    [found] = await all_of(desk)
    members = {m["id"]: m for m in (await one_of(desk, found["id"]))["members"]}
    assert found["id"] == f"inc-{began().alarm}"
    assert (members[began().alarm]["tie"], members[began().alarm]["why"].en) == (
        "first",
        "the first alarm of this incident",
    )
    assert (members[second.alarm]["tie"], members[second.alarm]["why"].en) == (tie, why)


@pytest.mark.parametrize(
    "second",
    [began(rule="q", after_s=1801), began("fed", after_s=301), began("e", after_s=121), began("near", after_s=121), began("far", after_s=1)],
)  # fmt: skip
async def test_what_is_later_or_farther_is_another_incident(desk, second):
    await take(desk, began(), second)
    assert {found["id"] for found in await all_of(desk)} == {f"inc-{began().alarm}", f"inc-{second.alarm}"}


async def test_a_consequence_joins_its_cause_however_far_and_opens_no_incident_alone(desk):
    cause = began("far")
    await take(desk, cause)
    follows = msgspec.structs.replace(began("d", after_s=900), suppressed_by=cause.alarm)
    lone = msgspec.structs.replace(began("e", after_s=9000), suppressed_by="nobody-knows")
    await take(desk, follows, lone)
    whole = await incident_of(desk, cause)
    assert [(m["device"], m["tie"]) for m in whole["members"]] == [("far", "first"), ("d", "cause")]
    assert await incident_of(desk, lone) is None


async def test_an_incident_is_placed_where_all_its_alarms_still_are_together(desk):
    await take(desk, began())
    [found] = await all_of(desk)
    assert [(step["level"], step["id"]) for step in found["place"]] == [
        ("district", "叶集"), ("street", "东街"), ("site", "s1"), ("device", "d"),
    ]  # fmt: skip
    await take(desk, began("near", after_s=30))
    [found] = await all_of(desk)
    assert [step["id"] for step in found["place"]] == ["叶集", "东街"]
    await take(desk, began("fed", after_s=60))
    [found] = await all_of(desk)
    assert [step["id"] for step in found["place"]] == ["叶集"]


async def test_colour_class_and_response_are_three_fields_of_an_incident_and_no_plan_is_seen(desk):
    await take(desk, began("near", severity=Severity.YELLOW))
    [found] = await all_of(desk)
    assert (found["severity"], found["category"], found["response"], found["without_plan"]) == (
        "yellow",
        "fire",
        None,
        1,
    )
    await take(desk, began(after_s=5))
    [found] = await all_of(desk)
    assert (found["severity"], found["level"], found["response"], found["plans"]) == (
        "red",
        "I",
        "II",
        ["charger"],
    )


async def test_one_that_chatters_does_not_draw_the_neighbourhood_in(desk):
    for n in range(10):
        await take(desk, began(after_s=50 * n), ended(after_s=50 * n))
    await take(desk, began("e", after_s=460))
    assert sorted(found["alarms"] for found in await all_of(desk)) == [1, 10]


async def test_late_data_rules_on_trial_and_what_is_held_make_no_incident(desk):
    await take(desk, began(retrospective=True), msgspec.structs.replace(began("e"), shadow=True))
    assert await all_of(desk, only_open=False) == []
    await take(desk, began("far"))
    await desk.do(began("far").alarm, deed("withdraw", "维修"), WANG)
    await take(desk, began("far", rule="q", after_s=5000))
    assert [found["alarms"] for found in await all_of(desk)] == [1]


NEWS = [
    began(device, after_s=after, rule=rule)
    for device, after, rule in itertools.product(("d", "e", "near", "far", "fed"), (0, 70, 400, 2000), ("r", "q"))
]  # fmt: skip


async def test_the_same_feed_in_any_portions_and_again_gives_the_same_incidents(known):
    """Twenty feeds, each taken in five ways of portioning: the same ids, members and reasons."""
    for seed in range(20):
        dice = random.Random(seed)
        feed = dice.sample(NEWS, 18)
        feed.sort(key=lambda one: one.time + dice.uniform(0, 60_000))  # roughly as it happened
        seen = [await _grouped(known, feed, random.Random(n)) for n in range(5)]
        assert all(one == seen[0] for one in seen), f"seed {seed}"


async def _grouped(known, feed, dice):
    with tempfile.TemporaryDirectory() as folder:
        async with opened(
            f"sqlite+aiosqlite:///{folder}/desk.db", HandClock(), followers=[grouping(known)]
        ) as desk:
            desk.reader = Reader(None, None, lambda _: None)
            left = list(feed)
            while left:
                portion = dice.randint(1, 1 if dice.random() < 0.5 else 3)
                await take(desk, *left[:portion])
                left = left[portion:]
            before = await _told(desk)
            await desk.take([message(one) for one in feed])
            assert await _told(desk) == before
            return before


async def _told(desk):
    found = [await one_of(desk, row["id"]) for row in await all_of(desk)]
    return {one["id"]: {m["id"]: m["why"].en for m in one["members"]} for one in found}


async def test_an_alarm_and_its_incident_are_one_transaction(url, clock, known):
    async def breaks(*_):
        raise OperationalError("INSERT", None, Exception("disk I/O error"))

    async with opened(url, clock, followers=[grouping(known), breaks]) as desk:
        with pytest.raises(Unavailable):
            await take(desk, began())
        async with desk.store.read() as db:
            assert (await db.execute(sa.select(incidents))).all() == []
        assert await desk.alarms(only_open=False, limit=9) == []


async def test_a_person_merges_and_splits_and_both_stand_in_the_trail(desk, clock):
    await take(desk, began(), began("far", after_s=5), began("far", rule="q", after_s=6))
    ours, other = f"inc-{began().alarm}", f"inc-{began('far', after_s=5).alarm}"
    await change(desk, incident_deeds.merge, ours, other, desk.parts, WANG, clock.now)
    [found] = await all_of(desk)
    assert (found["id"], found["alarms"], [step["id"] for step in found["place"]]) == (ours, 3, ["叶集"])
    assert (await one_of(desk, other))["merged_into"] == ours
    await take(desk, began("far", rule="p", after_s=7))
    assert (await incident_of(desk, began("far", rule="p", after_s=7)))["id"] == ours

    fresh = await change(
        desk, incident_deeds.split, ours, [began("far", after_s=5).alarm], desk.parts, LI, clock.now
    )
    whole = await one_of(desk, fresh)
    assert [(m["device"], m["why"].zh) for m in whole["members"]] == [("far", "由李娜归入")]
    async with desk.store.read() as db:
        told = [(e["who"], e["what"]) for e in await audit.read(db)]
    assert told == [("李娜", "incident.split"), ("王建国", "incident.merge")]
    for wanted, sentence in [
        ((incident_deeds.merge, ours, ours), "with itself"),
        ((incident_deeds.merge, ours, other), "it is merged"),
        ((incident_deeds.split, ours, ["nobody"]), "not all of these alarms"),
        ((incident_deeds.split, fresh, [began("far", after_s=5).alarm]), "has to stay behind"),
    ]:
        with pytest.raises(Refused, match=sentence):
            await change(desk, *wanted, desk.parts, WANG, clock.now)
    with pytest.raises(KeyError):
        await change(desk, incident_deeds.merge, ours, "inc-none", desk.parts, WANG, clock.now)


async def settle(desk, clock):
    await change(desk, desk.parts.settle, clock.now)


async def test_an_incident_closes_by_itself_when_alarms_actions_and_duties_are_done(desk, clock):
    await take(desk, began())
    await settle(desk, clock)
    await take(desk, ended())
    await settle(desk, clock)
    await desk.do(began().alarm, deed("acknowledge"), WANG)
    await settle(desk, clock)
    [found] = await all_of(desk)
    assert [left.en for left in (await one_of(desk, found["id"]))["undone"]] == [
        "dimming of near: waiting",
        "Check",
    ]
    async with desk.store.read() as db:
        [light] = (await db.execute(sa.select(actions))).all()
    await change(desk, runs.decline, light.id, WANG, clock.now)
    await settle(desk, clock)
    assert len(await all_of(desk)) == 1
    await change(desk, runs.tick_off, began().alarm, 0, desk.book, WANG, clock.now)
    await settle(desk, clock)
    assert await all_of(desk) == []
    whole = await one_of(desk, found["id"])
    assert whole["state"] == "closed"
    stages = [moment.stage for moment in whole["timeline"]]
    assert [stage for stage, _ in itertools.groupby(stages)][-1] == "closed"
    assert {"alarm", "incident", "plan", "linkage", "returned", "acknowledgement", "duty"} <= set(stages)
    await take(desk, began(after_s=60))
    [fresh] = await all_of(desk)
    assert fresh["id"] != found["id"], "what is closed takes nothing in"


async def test_a_person_closes_with_words_what_is_not_all_done_but_never_what_still_stands(desk, clock):
    await take(desk, began())
    key = f"inc-{began().alarm}"
    with pytest.raises(Refused, match="1 of its alarms are not closed"):
        await change(desk, incident_deeds.close_by_hand, key, "算了", desk.parts, WANG, clock.now)
    await take(desk, ended())
    await desk.do(began().alarm, deed("acknowledge"), WANG)
    with pytest.raises(Refused, match="a comment is needed, for not all is done: dimming of near: waiting; Check"):  # fmt: skip
        await change(desk, incident_deeds.close_by_hand, key, "", desk.parts, WANG, clock.now)
    await change(desk, incident_deeds.close_by_hand, key, "现场已确认", desk.parts, WANG, clock.now)
    whole = await one_of(desk, key)
    assert (whole["state"], whole["closed_by"], whole["timeline"][-1].words.zh) == (
        "closed",
        "王建国",
        "王建国 事件关闭：现场已确认",
    )
    assert [a["state"] for a in whole["runs"][0]["actions"]] == ["expired"]
    late = transition(2, Change.WORSENED, Severity.RED)
    await take(desk, late)  # the street says that it was not over
    assert (await one_of(desk, key))["state"] == "open"


async def test_an_alarm_with_ties_to_two_incidents_joins_the_closer_and_names_the_other(desk):
    await take(desk, began("e"), began("near", after_s=1))
    assert len(await all_of(desk)) == 2
    await take(desk, began("d", after_s=60))
    whole = await incident_of(desk, began("d", after_s=60))
    assert whole["id"] == f"inc-{began('e').alarm}"
    assert whole["related"] == [f"inc-{began('near', after_s=1).alarm}"]


def test_the_nearest_cameras_that_cover_the_place_come_first(known):
    ground = Ground(known, lambda: DEVICES, Windows())
    seen = known.cameras_near(ground.place("d"))
    assert [(camera["id"], camera["metres"]) for camera in seen] == [("cam-1", 19), ("cam-2", 95)]
    assert known.cameras_near(ground.place("nowhere")) == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (("https://video.example/cam-2", "javascript:alert(1)"), "$.cameras[0].url: 'javascript:alert(1)' is no address; https://, http:// or rtsp://"),
        (("id: cam-1", "id: cam-2"), "$.cameras[1].id: 'cam-2' is there twice"),
        (("lon: 115.9010", "lon: 315.9010"), "$.cameras[0].lon: 315.901, 31.85 is nowhere on earth"),
        (("kind: feeder", "kind: fodder"), "$.groups[0].kind: no 'fodder'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_places_is_one_sentence(tmp_path, wrong, sentence):
    path = tmp_path / "places.yaml"
    path.write_text(PLACES.replace(*wrong, 1), "utf-8")
    with pytest.raises(ConfigError) as raised:
        places.load(path)
    assert str(raised.value).startswith(f"{path}: {sentence}")


async def test_a_storm_of_a_thousand_sources_is_grouped_whole(desk):
    news = [began(f"x{n}", after_s=n / 100) for n in range(1000)]
    await asyncio.gather(*(desk.take([message(one) for one in news[n::10]]) for n in range(10)))
    found = await all_of(desk)
    async with desk.store.read() as db:
        count = (await db.execute(sa.select(sa.func.count()).select_from(incidents))).scalar_one()
    assert (len(found), count) == (100, 1000), "places unknown: each is its own business"
