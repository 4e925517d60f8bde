"""The report as people see it: a real centre, a real browser, both languages, on a desk, a phone and paper."""

import importlib
import json
import os
import time
from pathlib import Path

import pytest
from brokers import Mosquitto
from conftest import missing

from bench._centre import BEARER, Centre
from bench._storm import feeding, news
from telemetry.severity import Severity
from tests.command_center.screens import CHROMIUM

IN_CI = os.environ.get("CI") == "true"
playwright = (
    importlib.import_module("playwright.async_api") if IN_CI else pytest.importorskip("playwright.async_api")
)


@pytest.fixture
async def centre(tmp_path):
    if not Mosquitto.find():
        missing("mosquitto", "apt install mosquitto")
    if not CHROMIUM.exists():
        missing("chromium", "apt install chromium")
    async with Centre(tmp_path) as one:
        yield one


async def test_the_report_reads_in_both_languages_on_a_desk_a_phone_and_paper(centre):
    async with feeding(centre.broker_port) as feeder:
        at = int(time.time() * 1000)
        for n in range(12):
            await feeder.tell(news(f"d{n % 2}", "ev_charger.hot", at + n * 1000, Severity.ORANGE))
        await feeder.settled()
    problems = []
    async with playwright.async_playwright() as browsers:
        browser = await browsers.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1440, "height": 900}, extra_http_headers=BEARER)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        await page.goto(f"{centre.url}/report.html")
        await page.wait_for_selector("h1:has-text('告警绩效报告')")
        words = await page.inner_text("body")
        assert "每操作员小时告警数" in words
        assert "充电桩过热 · d0" in words
        assert "✕ 超限" in words
        async with page.expect_download() as taken:
            await page.click("a:has-text('通知明细（签名）')")
        signed = await taken.value
        assert signed.suggested_filename == "deliveries.json"
        told = json.loads(Path(await signed.path()).read_text("utf-8"))
        assert told["until_ms"] - told["since_ms"] == 7 * 86_400_000
        assert told["signature"]
        await page.set_viewport_size({"width": 390, "height": 844})
        await page.goto(f"{centre.url}/report.html?lang=en&positions=3")
        await page.wait_for_selector("h1:has-text('Report on the alarm desk')")
        words = await page.inner_text("body")
        assert "EV charger overheats · d0" in words
        assert "undefined" not in words
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await page.emulate_media(media="print")
        assert not await page.is_visible(".tools")
        await page.goto(f"{centre.url}/report.html?positions=5000")
        await page.wait_for_selector("[role=alert]")
        await browser.close()
    assert [words for words in problems if "422" not in words] == []
