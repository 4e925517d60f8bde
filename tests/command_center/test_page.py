"""The command-centre page in a real browser, against a fake centre that a test can steer."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Iterator

import pytest
from conftest import missing

from tests.command_center.fake_centre import FakeCentre
from tests.command_center.fake_district import PERSON, text
from tests.command_center.screens import CHROMIUM, FLAGS, SIZES, opened

IN_CI = os.environ.get("CI") == "true"
sync_api = (
    importlib.import_module("playwright.sync_api") if IN_CI else pytest.importorskip("playwright.sync_api")
)


@pytest.fixture(scope="module")
def play() -> Iterator[sync_api.Playwright]:
    if not CHROMIUM.exists():
        missing("chromium", "apt install chromium")
    with sync_api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(play: sync_api.Playwright) -> Iterator[sync_api.Browser]:
    chromium = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
    yield chromium
    chromium.close()


@pytest.fixture
def centre() -> Iterator[FakeCentre]:
    with FakeCentre(alarms=8, pulse_s=0.5) as fake:
        yield fake


@pytest.fixture
def calm() -> Iterator[FakeCentre]:
    with FakeCentre(alarms=0, pulse_s=0.5) as fake:
        yield fake


def test_an_alarm_is_on_the_screen_when_the_server_tells_of_it_and_no_longer_when_it_is_over(browser, calm):
    with opened(browser, calm) as screen:
        screen.wait_for(".quiet")
        alarm = calm.make_alarm(0, "red")
        calm.push(alarm)
        screen.wait_for(f'.alarms li[data-alarm="{alarm["id"]}"]')
        bar = screen.wait_for(".critical .bar")
        assert "充电桩过温" in bar.inner_text()
        assert "96.4" in bar.inner_text()
        calm.push(alarm | {"state": "closed", "ended_ms": alarm["began_ms"] + 1000})
        screen.wait_for(".quiet")
        assert screen.count(".critical .bar") == 0


def test_an_older_state_that_comes_late_is_not_shown(browser, calm):
    with opened(browser, calm) as screen:
        screen.wait_for(".quiet")
        alarm, mark = calm.make_alarm(0, "red"), calm.make_alarm(1, "yellow")
        calm.push(alarm | {"version": 3, "state": "acknowledged", "acknowledged_by": "赵敏"})
        calm.push(alarm | {"version": 2})
        calm.push(mark)
        screen.wait_for(f'.alarms li[data-alarm="{mark["id"]}"]')
        screen.wait_for(f'.alarms li.red.acknowledged[data-alarm="{alarm["id"]}"]')
        calm.push(alarm | {"version": 5, "state": "closed", "ended_ms": alarm["began_ms"] + 1000})
        calm.push(alarm | {"version": 4})
        calm.push(mark | {"version": 2, "state": "acknowledged", "acknowledged_by": "赵敏"})
        screen.wait_for(f'.alarms li.acknowledged[data-alarm="{mark["id"]}"]')
        assert screen.count(f'.alarms li[data-alarm="{alarm["id"]}"]') == 0


def test_a_server_that_answers_before_the_first_picture_is_painted_is_heard(browser, calm):
    person = json.dumps(PERSON)
    at_once = f"""
        const [ask, later] = [window.fetch, window.setTimeout];
        window.fetch = async (path, how) => path === 'api/session' ? new Response('{person}') : ask(path, how);
        window.setTimeout = (act, ms, ...rest) => later(act, Math.max(ms ?? 0, 300), ...rest);  // effects come late
    """
    with opened(browser, calm, before=at_once) as screen:
        screen.wait_for(".quiet")


def test_alarms_stand_by_severity_what_lasts_before_what_is_over_and_then_the_newest_first(browser, centre):
    with opened(browser, centre) as screen:
        screen.wait_for(".alarms li")
        shown = screen.page.locator(".alarms li.alarm").evaluate_all(
            "rows => rows.map((row) => row.dataset.alarm)"
        )
        rank = {"red": 0, "orange": 1, "yellow": 2, "blue": 3}
        standing = [alarm for alarm in centre.alarms.values() if alarm["suppression"] == "none"]
        due = sorted(
            standing,
            key=lambda alarm: (rank[alarm["severity"]], alarm["ended_ms"] is not None, -alarm["began_ms"]),
        )
        assert shown == [alarm["id"] for alarm in due]


def test_a_person_acknowledges_by_keyboard_in_his_own_name(browser, centre):
    with opened(browser, centre) as screen:
        row = screen.wait_for(".alarms li.alarm")
        screen.page.keyboard.press("ArrowDown")  # from nowhere: into the list
        screen.page.keyboard.press("ArrowDown")
        screen.page.keyboard.press("ArrowUp")
        screen.page.keyboard.press("a")
        screen.wait_for("dialog[open]")
        assert screen.count("dialog input") == 0, "nobody is asked who he is"
        screen.page.fill("dialog textarea", "已通知消防站")
        screen.page.click("dialog button[type=submit]")
        screen.wait_for(".alarms li.red.acknowledged")
        sync_api.expect(screen.page.locator("dialog[open]")).to_have_count(0)
        [(alarm, body)] = centre.seen
        assert alarm == row.get_attribute("data-alarm")
        assert body == {"comment": "已通知消防站"}
        assert "赵敏" in screen.wait_for(".alarms li.red .who").inner_text()


def test_who_may_only_read_is_offered_nothing_else(browser, centre):
    centre.rights = ["read"]
    with opened(browser, centre) as screen:
        screen.wait_for(".alarms li.alarm .open").click()
        screen.wait_for(".record .timeline li")
        assert screen.count("button.ack, button.sweep, .record [data-deed]") == 0


def test_a_refused_acknowledgement_says_why_and_keeps_the_dialog(browser, centre):
    centre.refusal = (409, text("该告警已由王建国确认", "already acknowledged by Wang Jianguo"))
    with opened(browser, centre, query="?lang=en") as screen:
        screen.wait_for(".bar .ack").click()
        screen.page.click("dialog button[type=submit]")
        sync_api.expect(screen.page.locator("dialog [role=alert]")).to_contain_text("already acknowledged by")
        assert screen.count("dialog[open]") == 1


def test_a_cut_stream_shows_a_banner_with_its_time_and_heals_by_itself(browser, centre):
    with opened(browser, centre) as screen:
        screen.wait_for(".alarms li")
        began = time.monotonic()
        centre.lose()
        banner = screen.wait_for(".banner.lost")
        assert time.monotonic() - began < 5
        assert "已中断" in banner.inner_text()
        assert "不是现在" in screen.wait_for(".asof").inner_text()
        gone = next(iter(centre.alarms))
        del centre.alarms[gone]  # ended while nobody could hear it
        centre.mend()
        screen.wait_for('.page[data-link="live"]')
        assert screen.count(".banner.lost") == 0
        assert screen.count(f'.alarms li[data-alarm="{gone}"]') == 0


def test_a_stream_that_falls_silent_counts_as_lost(browser, centre):
    with opened(browser, centre) as screen:
        screen.wait_for(".health li")
        centre.silent = True
        screen.wait_for(".banner.lost")


def test_the_device_panel_tells_values_quality_and_age(browser, centre):
    with opened(browser, centre) as screen:
        screen.wait_for(".alarms li.alarm").click()
        screen.wait_for(".device .plot canvas")
        value = screen.wait_for('.values tr[data-metric="temperature"] .value')
        assert value.inner_text().startswith("96.4")
        assert "°C" in value.inner_text()
        assert "充电中" in screen.wait_for('.values tr[data-metric="vehicle_state"]').inner_text()
        screen.page.keyboard.press("Escape")
        screen.page.fill(".places input", centre.devices[8]["id"])
        screen.wait_for(".deviceline").click()
        assert "无应答" in screen.wait_for(".values .quality span").inner_text()
        assert "无有效数据" in screen.wait_for(".condition").inner_text()


def test_the_whole_page_changes_language(browser, centre):
    with opened(browser, centre) as screen:
        screen.wait_for(".alarms li")
        screen.page.click(".tools button[lang=en]")
        screen.wait_for("html[lang=en]")
        screen.wait_for("text=Charger overheats")
        assert "Yeji" in screen.page.title()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_size_overflows_sideways(browser, centre, size, lang):
    with opened(browser, centre, size, f"?lang={lang}") as screen:
        tabs = ["alarms", "map", "devices"] if size == "phone" else [None]
        for n, tab in enumerate(tabs):
            if tab:
                screen.page.locator(".tabs button").nth(n).click()
                screen.wait_for(f'.page[data-tab="{tab}"]')
            wide = screen.page.evaluate(
                "[document.documentElement.scrollWidth, document.querySelector('.page').scrollWidth, innerWidth]"
            )
            assert max(wide[:2]) <= wide[2]


def test_the_console_stays_silent_and_only_the_own_origin_is_asked(browser, centre):
    with opened(browser, centre) as screen:
        screen.wait_for(".maplibregl-canvas, .svgmap")
        screen.wait_for(".alarms li.alarm").click()
        screen.wait_for(".device .plot canvas")
        screen.page.click(".alarms .switch button >> nth=2")
        screen.wait_for(".alarms li.closed")
        assert screen.complaints == []
        assert screen.origins == {centre.url}


def test_a_screen_without_webgl_gets_the_plain_map(play, centre):
    plain = play.chromium.launch(
        executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--disable-3d-apis", *FLAGS[3:]]
    )
    with opened(plain, centre) as screen:
        screen.wait_for(".svgmap .mark.sev-red-open")
        assert screen.count(".svgmap .mark") == len(centre.devices)
    plain.close()


def test_with_nothing_wrong_no_alarm_colour_is_on_the_page(browser, calm):
    with opened(browser, calm) as screen:
        screen.wait_for(".quiet")
        saturated = screen.page.evaluate(
            """[...document.querySelectorAll('.page *')].flatMap((one) => {
                 const style = getComputedStyle(one);
                 const drawn = ['color', 'backgroundColor', 'borderLeftColor'].map((name) => style[name]);
                 if (one instanceof SVGElement) drawn.push(style.fill, style.stroke);
                 return drawn.filter((value) => {
                   const [r, g, b, a = 1] = (value.match(/[\\d.]+/g) ?? [0, 0, 0]).map(Number);
                   return a > 0 && Math.max(r, g, b) - Math.min(r, g, b) > 60;
                 });
               })"""
        )
        assert saturated == []


def test_two_thousand_devices_are_clustered_and_the_list_is_capped(browser):
    with FakeCentre(devices=2000, alarms=400, pulse_s=1) as crowd, opened(browser, crowd) as screen:
        screen.wait_for(".alarms li")
        assert screen.count(".alarms li.alarm") == 100
        assert screen.count(".deviceline") == 120
        screen.wait_for(".more").click()
        sync_api.expect(screen.page.locator(".alarms li.alarm")).to_have_count(200)


def test_a_person_shelves_an_alarm_with_a_reason_and_it_leaves_the_list_for_the_held_ones(browser, centre):
    with opened(browser, centre) as screen:
        row = screen.wait_for(".alarms li.orange.unacknowledged")
        alarm = row.get_attribute("data-alarm")
        row.locator(".open").click()
        screen.wait_for(".record .timeline li")
        assert "现场无明火" in screen.wait_for(".timeline li[data-kind=comment]").inner_text()
        screen.page.click(".record [data-deed=shelve]")
        screen.page.select_option(".record select", "60")
        screen.page.fill(".record textarea", "传感器检修")
        screen.page.click(".record button[type=submit]")
        sync_api.expect(screen.page.locator(f'.alarms li[data-alarm="{alarm}"]')).to_have_count(0)
        [(deed, body)] = centre.seen
        assert (deed, body["comment"], body["version"]) == ("shelve", "传感器检修", 1)
        assert 59 * 60_000 < body["until_ms"] - time.time() * 1000 < 61 * 60_000
        screen.page.keyboard.press("Escape")
        screen.page.locator(".alarms .switch button").nth(1).click()
        held = screen.wait_for(f'.alarms li.held[data-alarm="{alarm}"]')
        assert "传感器检修" in held.inner_text()


def test_many_are_acknowledged_with_a_summary_and_the_red_one_stays(browser, centre):
    with opened(browser, centre) as screen:
        screen.wait_for(".alarms .sweep").click()
        summary = screen.wait_for(".sweepcounts").inner_text()
        assert "最高 橙" in summary
        screen.page.click("dialog[open] button[type=submit]")
        sync_api.expect(screen.page.locator(".alarms li.unacknowledged")).to_have_count(1)
        assert screen.count(".alarms li.red.unacknowledged") == 1
        [(_, body)] = centre.seen
        assert all(centre.alarms[seen["id"]]["severity"] != "red" for seen in body["alarms"])


def test_a_deed_that_is_refused_says_why_and_keeps_what_was_written(browser, centre):
    centre.refusal = (409, text("该告警已有变化，请刷新后再操作", "it has changed since"))
    with opened(browser, centre, query="?lang=en") as screen:
        screen.wait_for(".alarms li.alarm .open").click()
        screen.page.click(".record [data-deed=comment]")
        screen.page.fill(".record textarea", "looks fine")
        screen.page.click(".record button[type=submit]")
        assert "it has changed since" in screen.wait_for(".record form [role=alert]").inner_text()
        assert screen.page.input_value(".record textarea") == "looks fine"


def test_the_record_shows_who_was_told_and_calls_accepted_not_delivered(browser, centre):
    at = int(time.time() * 1000)
    common = {
        "name": text("王建国", "Wang Jianguo"),
        "reason": "alarm",
        "done_ms": at,
        "due_ms": at,
        "sent_ms": at,
        "said": "",
    }
    centre.notices = [
        {**common, "id": "1", "channel": "wecom", "state": "failed", "code": "invaliduser"},
        {**common, "id": "2", "channel": "sms", "state": "accepted", "code": "OK"},
        {"id": "3", "reason": "step", "policy": "red", "step": 1, "state": "pending", "due_ms": at},
    ]
    with opened(browser, centre) as screen:
        screen.wait_for(".alarms li.alarm .open").click()
        assert "invaliduser" in screen.wait_for(".notices li[data-state=failed]").inner_text()
        accepted = screen.wait_for(".notices li[data-state=accepted]").inner_text()
        assert "尚未证实送达" in accepted
        assert "red 第 2 步" in screen.wait_for(".notices li[data-state=pending]").inner_text()


def test_the_record_says_what_a_detector_saw_and_what_to_do(browser, centre):
    alarm = centre.make_alarm(0, "yellow")
    seen = text("PM2.5 为 183，此时通常 20–35", "PM2.5 is 183; at this hour 20-35 is usual")
    advice = {"cause": None, "consequence": None, "advice": text("核对邻近站点", "compare the neighbours")}
    centre.alarms = {alarm["id"]: {**alarm, "because": seen, "guidance": advice}}
    with opened(browser, centre) as screen:
        screen.wait_for(".alarms li.alarm .open").click()
        told = screen.wait_for(".record .guidance").inner_text()
    assert [line for line in told.splitlines() if line] == [
        "判定依据",
        "PM2.5 为 183，此时通常 20–35",
        "处置建议",
        "核对邻近站点",
    ]


def test_the_record_shows_the_plan_why_it_holds_and_how_far_each_action_really_is(browser, centre):
    action = {
        "id": "a1",
        "device": centre.devices[0]["id"],
        "title": text("切断充电", "Cut the charger"),
        "interlock": "two",
    }
    centre.run = {
        "run": "r", "plan": "charger", "title": text("充电桩过热处置", "Charger overheats"), "response": "II", "mode": "live",
        "clauses": {"severity": True, "class": True}, "checklist": [],
        "actions": [{**action, "state": "waiting", "approved": ["李娜"]}, {**action, "id": "a2", "state": "executed"}],
    }  # fmt: skip
    with opened(browser, centre) as screen:
        screen.wait_for(".alarms li.alarm .open").click()
        plan = screen.wait_for(".planrun").inner_text()
        assert "II 级响应" in plan
        assert "匹配：颜色 · 设备类别" in plan
        assert "已执行，待回读" in screen.wait_for(".actions li[data-state=executed]").inner_text()
        waiting = screen.wait_for(".actions li[data-state=waiting]")
        assert "批准 1/2" in waiting.inner_text()
        waiting.locator("button").first.click()
        assert "已回读核实" in screen.wait_for(".actions li[data-state=verified]").inner_text()
        assert centre.seen == [("approve", {})]


def test_an_alarm_without_a_plan_says_so(browser, centre):
    centre.run = {"run": "r", "plan": None, "mode": "live", "clauses": {}, "checklist": [], "actions": []}
    with opened(browser, centre, query="?lang=en") as screen:
        screen.wait_for(".alarms li.alarm .open").click()
        assert "No plan matches" in screen.wait_for(".noplan").inner_text()


def test_a_board_leads_to_a_device_and_the_device_back_to_its_board(browser, calm):
    device = calm.devices[0]
    with opened(browser, calm, query=f"?device={device['id']}") as screen:
        panel = screen.wait_for(f'.device[data-device="{device["id"]}"]')
        link = panel.locator("a.board")
        assert link.get_attribute("href") == (
            f"https://grafana.example/d/yemai-zh-device-{device['class']}?var-device={device['id']}"
        )
