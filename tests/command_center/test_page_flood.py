"""The page in a flood: it says so, and how many alarms it does not hold, in the reader's language, and stops saying so."""

import json

import pytest
from aiohttp import web
from fake_centre import FakeCentre, now_ms
from screens import opened
from test_page import browser, play  # noqa: F401 - fixtures

WORDS = {
    "zh": ("告警洪泛 十分钟内 42 条告警，自", "告警未全部载入 打开画面时共有 9 条未关闭告警，此处为其中最严重的 8 条"),
    "en": ("Alarm flood 42 alarms in ten minutes; since", "Not every alarm is shown 9 were open when the page was loaded; these are the worst 8 of them"),
}  # fmt: skip


class Flooded(FakeCentre):
    """A centre that says how many alarms there are, and which flood."""

    open, flood = {}, None

    async def _overview(self, request):
        told = json.loads((await super()._overview(request)).body)
        return web.json_response({**told, "open": self.open})

    def _tell(self, kind, data):
        super()._tell(kind, {**data, "flood": self.flood} if kind == "health" else data)


@pytest.fixture
def centre():
    with Flooded(alarms=8, pulse_s=0.2) as fake:
        yield fake


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_a_flood_is_said_until_it_is_over_and_so_is_what_the_page_does_not_hold(browser, centre, lang):  # noqa: F811
    centre.open = {"red": 2, "orange": 7}
    centre.flood = {"since_ms": now_ms() - 60_000, "alarms": 42, "positions": 1}
    with opened(browser, centre, query=f"?lang={lang}") as screen:
        assert screen.wait_for(".banner.flood").inner_text().startswith(WORDS[lang][0])
        assert screen.wait_for(".banner.capped").inner_text() == WORDS[lang][1]
        centre.flood = None
        screen.page.locator(".banner.flood").wait_for(state="detached")


def test_nothing_is_said_when_every_alarm_is_there_and_no_flood(browser, centre):  # noqa: F811
    centre.open = {"red": 1, "orange": 2, "yellow": 2, "blue": 3}
    with opened(browser, centre) as screen:
        screen.wait_for(".health li")
        assert (screen.count(".banner.capped"), screen.count(".banner.flood")) == (0, 0)
