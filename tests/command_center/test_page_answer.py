"""The page behind a message's link, in a real browser against the real centre: it asks for one press and takes no other."""

import asyncio
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from centers import command, write_config
from desks import opened, take
from persons import MADE_BY, cookie_of
from tellers import SETUP
from test_page import browser, play, sync_api  # noqa: F401 - fixtures
from test_page_people import opens, screen
from test_telling import began

from command_center.notices import Body, notice_row
from command_center.people import answering, users
from command_center.people.users import User
from command_center.tables import notices
from telemetry.clock import SystemClock
from telemetry.severity import Severity

ALARM = began(Severity.RED).alarm


def apart(do, *args):
    """Run a coroutine in a thread of its own: the browser's driver has the loop of this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(do(*args))).result()


async def begin(folder):
    """An alarm that stands, an operator, and the link that was sent to him."""
    clock = SystemClock()
    async with opened(f"sqlite+aiosqlite:///{folder}/desk.db", clock) as desk:
        await take(desk, began(Severity.RED))
        token, row = answering.made(answering.Link("n", ALARM, "wang", "app"), clock.now_ms())
        async with desk.store.change() as db:
            await users.add(db, User("wang", "王建国", ("operator",)), MADE_BY, clock.now_ms())
            await answering.keep(db, [row], clock.now_ms())
            alarm = (await desk.alarm(ALARM))[0]
            lost = notice_row("n", alarm, "wang", "app", Body("alarm", "wang"), clock.now_ms())
            await db.execute(notices.insert().values(**{**lost, "state": "failed"}))
        return token, await cookie_of(desk.store, "wang", "王建国", "operator")


async def acknowledged_by(folder):
    async with opened(f"sqlite+aiosqlite:///{folder}/desk.db", SystemClock()) as desk:
        return (await desk.alarm(ALARM))[0].acknowledged_by


@pytest.fixture
def link(tmp_path, monkeypatch, free_port, unused_tcp_port):
    token, cookie = apart(begin, tmp_path)
    config = write_config(tmp_path, free_port, unused_tcp_port)
    (tmp_path / "notify.yaml").write_text(SETUP.format(url="http://127.0.0.1:1"), "utf-8")
    config.write_text(config.read_text("utf-8") + 'notify = { file = "notify.yaml" }\n', "utf-8")
    monkeypatch.setenv("FAKE_KEY", "k")
    monkeypatch.setenv("FAKE_SECRET", "s")
    process = subprocess.Popen(command(config), stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{unused_tcp_port}/answer.html#{token}", cookie
    process.terminate()
    process.wait(20)


def test_opening_shows_the_alarm_and_one_press_acknowledges_it(browser, link, tmp_path):  # noqa: F811
    link, _ = link
    with screen(browser, "phone") as page:
        opens(page, link)
        button = page.locator("#acknowledge")
        button.wait_for()
        assert "红色 I" in page.inner_text("main")
        assert "王建国" in page.inner_text("main")
        assert "#" not in page.url, "the token has left the address"
        assert apart(acknowledged_by, tmp_path) is None
        button.click()
        page.get_by_text("✓ 已确认").wait_for()
        assert page.locator("button").count() == 0
    assert apart(acknowledged_by, tmp_path) == "王建国"
    with screen(browser, "phone") as page:
        page.goto(link)
        page.get_by_role("alert").wait_for()
        assert "链接已失效" in page.inner_text("main")
        assert page.locator("button").count() == 0


def test_an_alarm_that_turned_worse_meanwhile_is_shown_again(browser, link, tmp_path):  # noqa: F811
    def milder(route):
        told = route.fetch()
        route.fulfill(response=told, json={**told.json(), "severity": "orange"})

    with screen(browser, "phone") as page:
        page.route("**/api/answers/open", milder, times=1)
        opens(page, link[0])
        page.get_by_text("橙色 II").wait_for()
        page.locator("#acknowledge").click()
        page.get_by_text("告警已升级").wait_for()
        page.get_by_text("红色 I").wait_for()
        assert apart(acknowledged_by, tmp_path) is None
        page.locator("#acknowledge").click()
        page.get_by_text("✓ 已确认").wait_for()
    assert apart(acknowledged_by, tmp_path) == "王建国"


def test_a_message_that_failed_is_sent_once_more_from_the_record(browser, link):  # noqa: F811
    url, (name, _, value) = link[0].partition("/answer")[0], link[1].partition("=")
    with screen(browser) as page:
        page.context.add_cookies([{"name": name, "value": value, "url": url}])
        opens(page, url)
        page.locator(".alarms li.alarm .open").click()
        page.get_by_role("button", name="重发").click()
        sync_api.expect(page.locator(".notices li").first).not_to_have_attribute("data-state", "failed")
