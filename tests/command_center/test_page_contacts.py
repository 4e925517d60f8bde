"""Proving how one is reached, in a real browser: the code comes from the vendor, an admin's word has a reason."""

import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest
from centers import command, write_config
from persons import cookie_of
from tellers import SETUP
from test_page import browser, play, sync_api  # noqa: F401 - fixtures
from test_page_answer import apart
from test_page_people import opens, screen

from command_center.store import Store
from simulators.vendors import KEY, SECRET


async def cookies(folder):
    async with Store(f"sqlite+aiosqlite:///{folder}/desk.db") as store:
        return (
            await cookie_of(store, "wang", "王建国", "operator"),
            await cookie_of(store, "admin", "安全管理员", "security_admin"),
        )


@pytest.fixture
def town(tmp_path, monkeypatch, free_port, unused_tcp_port, unused_tcp_port_factory):
    """A centre that tells people, and vendors that do not exist."""
    monkeypatch.setenv("FAKE_KEY", KEY)
    monkeypatch.setenv("FAKE_SECRET", SECRET)
    vendors = f"http://127.0.0.1:{(port := unused_tcp_port_factory())}"
    kept = apart(cookies, tmp_path)
    config = write_config(tmp_path, free_port, unused_tcp_port)
    (tmp_path / "notify.yaml").write_text(SETUP.format(url=vendors), "utf-8")
    config.write_text(config.read_text("utf-8") + 'notify = { file = "notify.yaml" }\n', "utf-8")
    said = subprocess.DEVNULL
    running = [
        subprocess.Popen([sys.executable, "-m", "simulators.vendors", "--port", str(port)], stderr=said),
        subprocess.Popen(command(config), stderr=said),
    ]
    yield f"http://127.0.0.1:{unused_tcp_port}", vendors, kept
    for process in running:
        process.terminate()
        process.wait(20)


def enter(page, url, cookie):
    name, _, value = cookie.partition("=")
    page.context.add_cookies([{"name": name, "value": value, "url": url}])
    opens(page, url)


def code_at(vendors):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{vendors}/told") as answer:
            if told := json.load(answer)["told"]:
                return re.search(r"\d{6}", told[-1]["text"])[0]
        time.sleep(0.1)
    raise AssertionError("no code came")


def test_a_person_enters_the_code_that_came_and_an_admin_vouches(browser, town):  # noqa: F811
    url, vendors, (wang, admin) = town
    with screen(browser, "phone") as page:
        enter(page, url, wang)
        page.wait_for_selector('.page[data-link="live"]')
        page.click(".tabs button >> nth=2")
        page.click(".tools .account")
        page.click("summary >> text=联系方式核验")
        sms = page.locator('[data-contact="wang sms"]')
        sync_api.expect(sms).to_contain_text("未核验")
        assert page.locator("[data-contact^=li]").count() == 0
        assert "13800000001" not in page.inner_text(".contacts")
        sms.get_by_text("发送核验码").click()
        sms.locator("input[name=code]").fill(code_at(vendors))
        sms.get_by_role("button", name="核验", exact=True).click()
        sync_api.expect(sms).to_contain_text("✓ 王建国 已核验")
    with screen(browser) as page:
        enter(page, url, admin)
        page.click("summary >> text=联系方式核验")
        sync_api.expect(page.locator('[data-contact="wang sms"]')).to_contain_text("✓ 王建国 已核验")
        room = page.locator('[data-contact="room robot"]')
        room.get_by_text("担保").click()
        room.locator("input[name=reason]").fill("当面看到消息")
        room.get_by_role("button", name="担保").last.click()
        sync_api.expect(room).to_contain_text("✓ 安全管理员 担保：当面看到消息")
