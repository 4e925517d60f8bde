"""Incidents on the page: the list, how far one has come, and what a person does to it."""

from __future__ import annotations

import pytest
from test_page import SIZES, browser, calm, opened, play, sync_api  # noqa: F401 - fixtures

from tests.command_center.fake_district import now_ms, text
from tests.command_center.fake_incidents import incident_of

WARNING = {
    "identifier": "34150441600002_20251125000000_0", "kind": "Alert", "status": "Actual", "scope": "Restricted", "sent_ms": 1_764_000_000_000,
    "headline": text("充电桩火险", "Charger fire hazard"), "signed_by": None, "incident": "i", "severity": "red", "references": [],
}  # fmt: skip


@pytest.fixture
def centre(calm):  # noqa: F811 - the fixture
    alarm = calm.make_alarm(0, "red")
    calm.alarms[alarm["id"]] = alarm
    task = {"do": text("电话核实", "Telephone"), "owner": "值班员", "due_ms": now_ms() - 60_000, "done": None}
    run = {
        "run": alarm["id"], "plan": "charger", "title": text("充电桩过热处置", "Charger overheats"), "response": "II", "mode": "live",
        "clauses": {"class": True, "street": True}, "checklist": [task], "actions": [], "device": alarm["device"],
    }  # fmt: skip
    camera = {
        "id": "cam-1",
        "name": text("车棚东", "East shed"),
        "url": "https://video.example/cam-1",
        "metres": 19,
    }
    made = incident_of(alarm, runs=[run], cameras=[camera], warnings=[WARNING])
    calm.incidents[made["id"]] = made
    calm.made = made
    return calm


def record(screen):
    screen.wait_for("button[data-view=incidents]").click()
    screen.wait_for("li.incident").click()
    return screen.wait_for(".incidentrecord .steps")


def test_an_incident_shows_its_three_fields_why_each_alarm_belongs_and_how_far_it_has_come(browser, centre):  # noqa: F811
    with opened(browser, centre) as screen:
        screen.wait_for("button[data-view=incidents]").click()
        row = screen.wait_for("li.incident").inner_text()
        assert "预警" in row
        assert "II 级响应" in row
        assert "1 条告警，1 条仍在" in row
        reached = record(screen).locator("li.reached").all_inner_texts()
        assert [one.split("\n")[0] for one in reached] == ["✓ 告警", "✓ 事件", "✓ 预案", "✓ 联动", "✓ 回读"]
        assert "本事件的第一条告警" in screen.wait_for(".members").inner_text()
        assert "已逾期" in screen.wait_for(".tasks .overdue").inner_text()
        link = screen.wait_for(".cameras a")
        assert (link.get_attribute("href"), link.inner_text()) == (
            "https://video.example/cam-1",
            "车棚东（19 m）",
        )
        story = screen.page.locator(".story li span").all_inner_texts()
        assert story[0] == "切断充电：回读一致", "the newest first"


def test_a_person_comments_and_signs_and_what_is_refused_says_why(browser, centre):  # noqa: F811
    with opened(browser, centre) as screen:
        record(screen)
        assert "仅限内部" in screen.wait_for(".warnings").inner_text()
        screen.page.click(".warnings [data-deed=sign]")
        sync_api.expect(screen.page.locator(".warnings")).to_contain_text("公开 · 赵敏 签发")
        screen.page.click(".incidentrecord [data-deed=comment]")
        screen.page.fill(".incidentrecord textarea", "已到场")
        centre.refusal = (409, text("不行", "no"))
        screen.page.click(".incidentrecord .primary")
        sync_api.expect(screen.page.locator(".incidentrecord form .warn")).to_have_text("未能执行：不行")
        centre.refusal = None
        screen.page.click(".incidentrecord .primary")
        sync_api.expect(screen.page.locator(".story")).to_contain_text("赵敏 备注")
    assert [deed for deed, _ in centre.seen] == ["sign", "comment", "comment"]
    assert centre.seen[-1][1]["comment"] == "已到场"


def test_a_warning_from_outside_stands_over_the_incidents(browser, centre):  # noqa: F811
    info = {"language": "zh-CN", "headline": "大风蓝色预警[IV/一般]", "event": "大风"}
    centre.outside = [
        {"id": "x", "sender": "met.example", "until_ms": now_ms() + 3_600_000, "status": "Actual", "identifier": "i", "infos": [info]}
    ]  # fmt: skip
    with opened(browser, centre) as screen:
        screen.wait_for("button[data-view=incidents]").click()
        words = screen.wait_for(".outside li").inner_text()
        assert "外部预警" in words
        assert "大风蓝色预警[IV/一般]" in words
        assert "met.example" in words


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("size", SIZES)
def test_an_incident_fits_every_screen(browser, centre, size, lang):  # noqa: F811
    with opened(browser, centre, size, f"?lang={lang}") as screen:
        record(screen)
        dialog = screen.page.locator(".incidentrecord")
        assert dialog.evaluate("box => box.scrollWidth <= box.clientWidth + 1")
        assert dialog.evaluate("box => box.getBoundingClientRect().right <= innerWidth")
        assert screen.complaints == []
