"""A small storm over the real centre, pages that look on, and one that does not keep up."""

import asyncio
import time

import pytest
from brokers import Mosquitto
from conftest import missing
from waiting import wait_until

from bench._centre import BEARER, Centre
from bench._storm import Size, feeding, news, storm
from bench._viewers import Viewers
from command_center.hub import MOST_WAITING, Hub, Stream
from telemetry.clock import SystemClock
from telemetry.severity import Severity


async def known():
    return True


@pytest.fixture
async def centre(tmp_path):
    if not Mosquitto.find():
        missing("mosquitto", "apt install mosquitto")
    async with Centre(tmp_path) as one:
        yield one


async def test_a_storm_loses_nothing_floods_nobody_and_the_red_one_is_told(centre, http):
    seen = await storm(centre, Size(alarms=600, seconds=3, sources=100, chattering=8))
    assert (seen.kept, seen.sent) == (600, 600)
    assert seen.over_limit == {}

    def told_red(*addresses):  # by WeCom, or by SMS where that did not answer in time
        return any("红色" in one["text"] and one["address"] in addresses for one in centre.vendors.told)

    await wait_until(lambda: told_red("wang", "13800000001") and told_red("li", "13800000002"), 10)
    by_person = [one for one in centre.vendors.told if one["vendor"] == "wecom_app"]
    assert len(by_person) <= 2 * (4 + 1 + 1), "four singles, a digest and the red one, each to two people"
    assert len(seen.api_s) > 20
    async with http.get(f"{centre.url}/api/alarms?limit=5000", headers=BEARER) as answer:
        chattering = {one["device"] for one in await answer.json() if one["chattering"]}
    assert chattering == {f"storm-c{n}" for n in range(8)}

    async def flooded():
        async with http.get(f"{centre.url}/api/overview", headers=BEARER) as answer:
            return ((await answer.json())["flood"] or {}).get("alarms")

    await wait_until(flooded, 10)
    assert await flooded() == 600


async def test_every_page_sees_an_alarm_and_one_that_does_not_read_holds_up_nobody(centre):
    async with Viewers(centre.url, 30, slow=2) as viewers, feeding(centre.broker_port) as feeder:
        at = int(time.time() * 1000)
        for n in range(800):
            await feeder.tell(news(f"d{n}", "r", at, Severity.BLUE))
        await feeder.settled()
        one = news("last", "r", at, Severity.RED)
        viewers.marker = one.alarm.encode()
        await feeder.tell(one)
        assert len(await viewers.saw(one.alarm, time.time())) == 28 == viewers.open


async def test_a_page_that_falls_behind_is_cut_off_with_what_waited_for_it():
    hub = Hub()
    with hub.client() as slow, hub.client() as quick:
        for n in range(MOST_WAITING + 1):
            hub.publish("alarm", {"n": n})
            await quick.next()
        assert slow.lost
        assert not quick.lost
        assert await slow.next() == b""
        hub.publish("alarm", {"n": "more"})
        assert b"more" in await quick.next()
    assert hub.viewers == 0


async def test_what_comes_together_goes_out_together_and_in_order():
    hub = Hub()
    with hub.client() as page:
        for n in range(300):
            hub.publish("alarm", lambda n=n: {"n": n})
        first, second = await page.next(), await page.next()
        assert (first.count(b"\n\n"), second.count(b"\n\n")) == (256, 44)
        assert [f'"n":{n}}}' for n in range(300)] == [
            line.split("{")[1] for line in (first + second).decode().split("\n") if line.startswith("data")
        ]


async def test_pages_come_and_go_and_a_stop_ends_them(centre):
    async with Viewers(centre.url, 5) as viewers:
        await wait_until(lambda: viewers.received > 5 * 100)
        centre.process.terminate()
        await wait_until(lambda: viewers.open == 0, 10, "the streams to end")
        assert await asyncio.wait_for(centre.process.wait(), 10) == 0


async def test_a_page_that_takes_nothing_is_given_up_and_forgotten(monkeypatch):
    monkeypatch.setattr("command_center.hub._SEND_S", 0.05)
    hub, never = Hub(), asyncio.Event()

    async def send(message):
        if message["type"] == "http.response.body":
            await never.wait()

    await Stream(hub, SystemClock(), known)({"type": "http"}, never.wait, send)
    assert hub.viewers == 0


async def test_a_full_house_says_so(monkeypatch):
    monkeypatch.setattr("command_center.hub.MOST_VIEWERS", 1)
    hub, said = Hub(), []

    async def send(message):
        said.append(message)

    with hub.client():
        await Stream(hub, SystemClock(), known)({"type": "http"}, asyncio.Event().wait, send)
    assert said[0]["status"] == 503
    assert "1 pages are open already" in said[1]["body"].decode()
