"""A plan's text on a screen: filled from its approved template, approved by people, blanked again."""

import pytest
import sqlalchemy as sa
from desks import WANG, opened, take
from test_plans import NOON, began, change, run_of

from command_center import plans, runs
from command_center.linkage import command_of
from command_center.planner import Planner
from command_center.tables import actions as table
from telemetry.errors import ConfigError

SCREEN = """
plans:
  - id: flood
    title: {zh: 积水, en: Water}
    response: III
    match: {class: [ev_charger], street: [东街]}
    actions: [{id: show, title: {zh: 提示, en: Show}, interlock: one, text: {template: water, fill: {road: "@site", depth: "@value"}}, around: {class: led_screen, within_m: 500}}]
templates:
  - id: water
    title: {zh: 积水提示, en: Water ahead}
    text: "前方{road}积水{depth}厘米"
    approved: {by: 张三, at: 2026-05-01}
    blanks: {road: {most: 6}, depth: {kind: number, most: 4}}
    most_bytes: 32
"""
SITES = {
    "s1": {"street": "东街", "name": {"zh": "车棚", "en": "Shed"}},
    "s2": {"street": "西街", "name": {"zh": "一处名字太长的地方", "en": "x"}},
}
SCREENS = [
    {"id": "d", "class": "ev_charger", "agent": "edge-1", "lon": 115.9, "lat": 31.85, "site": "s1"},
    {"id": "led", "class": "led_screen", "agent": "edge-1", "lon": 115.9005, "lat": 31.85, "site": "s1"},
]


def screens(tmp_path, text=SCREEN):
    (tmp_path / "screen.yaml").write_text(text, "utf-8")
    return plans.load(tmp_path / "screen.yaml")


async def test_a_screen_shows_an_approved_template_with_its_blanks_filled_and_goes_blank_again(
    url, clock, tmp_path
):
    clock.now = NOON
    book = screens(tmp_path)
    planner = Planner(book, lambda: SCREENS, lambda: SITES)
    async with opened(url, clock, followers=[planner]) as desk:
        desk.planner = planner
        await take(desk, began())
        run = await run_of(desk, began().alarm)
        [show] = run["actions"]
        assert (show["device"], show["metric"], show["text"], show["state"]) == (
            "led",
            "text",
            "前方车棚积水90厘米",
            "waiting",
        )
        assert run["clauses"] == {"class": True, "street": True}
        await change(desk, runs.approve, show["id"], WANG, clock.now)
        async with desk.store.read() as db:
            [row] = (await db.execute(sa.select(table))).all()
        command = command_of(row, "center", None)
        assert (command.metric, command.text, command.value) == ("text", "前方车棚积水90厘米", None)
        async with desk.store.change() as db:
            await db.execute(table.update().values(state="verified"))
        back = await change(desk, runs.undo, show["id"], WANG, clock.now)
        [blank] = [a for a in (await run_of(desk, began().alarm))["actions"] if a["id"] == back]
        assert (blank["text"], blank["state"]) == ("", "requested")


async def test_a_text_that_the_screen_cannot_show_is_a_failure_that_says_why_and_nothing_is_sent(
    url, clock, tmp_path
):
    clock.now = NOON
    sites = {"s1": {"street": "东街", "name": {"zh": "东\x1b[2J", "en": "x"}}}
    planner = Planner(screens(tmp_path), lambda: SCREENS, lambda: sites)
    async with opened(url, clock, followers=[planner]) as desk:
        desk.planner = planner
        await take(desk, began())
        [show] = (await run_of(desk, began().alarm))["actions"]
        assert (show["state"], show["problem"]) == (
            "failed",
            "template 'water': 'road': character U+001B at 2 is not for a screen",
        )


async def test_a_plan_of_another_street_does_not_hold(url, clock, tmp_path):
    clock.now = NOON
    planner = Planner(screens(tmp_path), lambda: [{**SCREENS[0], "site": "s2"}], lambda: SITES)
    async with opened(url, clock, followers=[planner]) as desk:
        desk.planner = planner
        await take(desk, began())
        assert (await run_of(desk, began().alarm))["plan"] is None


@pytest.mark.parametrize(
    ("change_", "message"),
    [
        (("interlock: one", "interlock: automatic"), "$.plans[0].actions[0].interlock: a text in public waits for people; one or two"),
        (("template: water", "template: wather"), "$.plans[0].actions[0].text.template: no template 'wather'; did you mean 'water'?"),
        ((', depth: "@value"}', "}"), "$.plans[0].actions[0].text.fill: does not fit the blanks of 'water': depth"),
        (("前方{road}", "<b>{road}"), "$.templates[0].text: template 'water': '<' at 1 is a mark that screen cards take for an order"),
        (("most_bytes: 32", "most_bytes: 8"), "$.templates[0].text: template 'water': 12 bytes in gbk are more than 8"),
        (("at: 2026-05-01", 'at: "soon"'), "$.templates[0].approved.at: "),
        (("    approved: {by: 张三, at: 2026-05-01}\n", ""), "$.templates[0].approved: missing"),
        (("blanks: {road", "blanks: {rode: {}, road"), "$.templates[0].blanks: 'rode' is not in the text"),
        (('text: {template: water, fill: {road: "@site", depth: "@value"}}', "metric: brightnes, value: 3"), "$.plans[0].actions[0].metric: 'brightnes' of 'led_screen' cannot be set; did you mean 'brightness'?"),
        (('text: {template: water, fill: {road: "@site", depth: "@value"}}', "within_s: 5"), "$.plans[0].actions[0]: sets nothing; a metric and a value, or a text"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_text_is_one_sentence(tmp_path, change_, message):
    assert change_[0] in SCREEN
    with pytest.raises(ConfigError) as raised:
        screens(tmp_path, SCREEN.replace(*change_, 1))
    assert str(raised.value).startswith(f"{tmp_path / 'screen.yaml'}: {message}")
