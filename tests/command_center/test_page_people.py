"""The way in, in a real browser against the real centre: enrolling, signing in, adding people, a wall."""

import os
import re
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pyotp
import pytest
from centers import command, write_config
from test_page import FLAGS, SIZES, browser, play, sync_api  # noqa: F401 - fixtures

PASSWORD = "七月流火 correct-horse 91"
SHOTS = os.environ.get("YEMAI_SHOTS")
"""A folder to leave pictures in, for who wants to look at them."""


@pytest.fixture
def center(tmp_path, free_port, unused_tcp_port):
    """A centre nobody is enrolled at, and what it printed on its terminal."""
    config = write_config(
        tmp_path, free_port, unused_tcp_port
    )  # no broker is there; the page does not need one
    said = tmp_path / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(command(config), stderr=out)
    deadline = time.monotonic() + 60
    while "/#enrol=" not in said.read_text("utf-8"):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    yield f"http://127.0.0.1:{unused_tcp_port}", re.search(r"http\S+/#enrol=\S+", said.read_text("utf-8"))[0]
    process.terminate()
    process.wait(20)


@contextmanager
def screen(browser, size="desk"):  # noqa: F811
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, reduced_motion="reduce", locale="zh-CN"
    )
    context.set_default_timeout(15_000)
    complaints = []
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
        assert complaints == []
    finally:
        context.close()


def opens(page, link):
    for _ in range(100):  # the link is printed before the port is open
        try:
            page.goto(link)
        except sync_api.Error:
            page.wait_for_timeout(100)
        else:
            return


def shot(page, name):
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1], f"{name} overflows sideways"
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}-{page.viewport_size['width']}.png"))


def enrol(page, link, **fields):
    """Enrol in the page as a person would, with an authenticator that read the secret."""
    opens(page, link)
    page.wait_for_selector(".qr img")
    shot(page, "enrol")
    secret = page.inner_text(".qr code").replace(" ", "")
    for name, value in {**fields, "password": PASSWORD, "repeat": PASSWORD}.items():
        page.fill(f"input[name={name}]", value)
    page.fill("input[name=code]", pyotp.TOTP(secret).now())
    page.click("button[type=submit]")
    return secret


def test_from_the_first_link_to_a_wall_in_the_browser(browser, center):  # noqa: F811
    url, first = center
    with screen(browser) as admin, screen(browser, "phone") as person, screen(browser) as wall:
        enrol(admin, first, login="admin", name="安全管理员")
        admin.wait_for_selector(".account.alone .persons li[data-login=admin]")
        assert admin.locator(".alarms, .map").count() == 0, "a security admin has no alarms"
        admin.click("summary >> text=新增用户")
        admin.fill("details[open] input[name=login]", "zhao")
        admin.fill("details[open] input[name=name]", "赵敏")
        admin.check("details[open] input[value=operator]")
        admin.click("details[open] button[type=submit]")
        link = admin.inner_text(".admin .link code")
        shot(admin, "people")
        opens(person, url)
        person.wait_for_selector("input[name=password]")
        shot(person, "door")
        person.goto("about:blank")
        secret = enrol(person, link)
        person.wait_for_selector('.page[data-link="live"]')
        assert link.split("=")[1] not in person.url
        person.click(".tabs button >> nth=2")
        assert person.get_attribute(".tools .report", "href") == "report.html?lang=zh"
        person.click(".tools .account")
        person.wait_for_selector("table.people tr[data-session]")
        shot(person, "account")
        person.click("text=退出登录")
        person.fill("input[name=login]", "zhao")
        person.fill("input[name=password]", "wrong " + PASSWORD)
        person.fill("input[name=code]", "000000")
        person.click("button[type=submit]")
        sync_api.expect(person.locator("[role=alert]")).to_contain_text("登录名、密码或动态码不正确")
        person.fill("input[name=password]", PASSWORD)
        person.fill(
            "input[name=code]", pyotp.TOTP(secret).at(time.time() + 30)
        )  # the one before was used to enrol
        person.click("button[type=submit]")
        person.wait_for_selector('.page[data-link="live"]')
        admin.click("summary >> text=新增大屏链接")
        admin.fill("details[open] input[name=name] >> nth=-1", "三楼大厅")
        admin.click("details[open] button[type=submit] >> nth=-1")
        sync_api.expect(admin.locator(".admin .link")).to_contain_text("三楼大厅")
        opens(wall, admin.inner_text(".admin .link code"))
        wall.wait_for_selector('.page[data-link="live"]')
        assert wall.inner_text(".tools .account") == "大屏 三楼大厅"
        assert wall.query_selector(".tools .report") is None
        shot(wall, "wall")
        admin.click("li[data-login=zhao] >> text=停用")
        person.wait_for_selector("input[name=password]", timeout=20_000)
        shot(admin, "people-after")
