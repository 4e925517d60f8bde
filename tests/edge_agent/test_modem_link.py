"""What goes first over a modem that does one thing at a time."""

import asyncio

import pytest
from waiting import wait_until

from edge_agent.link import Calling
from edge_agent.modem import Modem, Refusal
from edge_agent.modems import bc28
from edge_agent.modems._radio import Datagram
from edge_agent.session import Session
from edge_agent.uplinks.nbiot_modem import Config, ModemLink
from telemetry import topics
from telemetry.config import Secret
from telemetry.testing import ManualClock

UP = topics.up("test", "edge-01")


class SlowToMeasure:
    """A modem that takes its time to say how well it hears."""

    def __init__(self):
        self.did, self.measured, self.overrun = [], asyncio.Event(), 0

    async def send(self, *_):
        self.did.append("sent")

    async def patiently(self, command):
        self.did.append("sent")
        return (f"+QMTPUB: 0,{command.text.split(',')[1]},0",)

    async def signal(self):
        await self.measured.wait()
        self.did.append("measured")
        return {"signal_dbm": -73.0}


def by_udp(modem, clock):
    config = Config("/dev/null", "bc28", "127.0.0.1", udp_port=1, key=Secret("k" * 32))
    return ModemLink(modem, config, Calling("test", "edge-01", None, (), "", b"", 4), clock)


def by_mqtt(modem, clock):
    return Session(modem, bc28.mqtt, "there", clock)


@pytest.mark.parametrize("way", [by_udp, by_mqtt])
async def test_an_alarm_does_not_wait_until_the_radio_has_been_measured(way):
    modem, clock = SlowToMeasure(), ManualClock()
    link = way(modem, clock)
    alarm = asyncio.ensure_future(link.send(UP, b"alarm"))
    await wait_until(lambda: modem.did or clock.advance(0.1))
    assert modem.did == ["sent"]
    modem.measured.set()
    await alarm
    assert (modem.did, link.metrics()["signal_dbm"]) == (["sent", "measured"], -73.0)


async def test_a_modem_that_has_nothing_to_fetch_any_more_is_listened_to_further():
    modem = Modem("/dev/null", 9600, bc28, ManualClock())

    async def refuses(_):
        raise Refusal("ERROR")

    modem.do = refuses
    modem._tell(bc28.heard("+NSONMI: 1,5"))
    modem._tell(Datagram(b"later"))
    assert await modem.arrived() == Datagram(b"later")
