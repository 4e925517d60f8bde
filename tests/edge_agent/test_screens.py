"""Screens show what was agreed upon, and nothing else, on a real line."""

import contextlib

import pytest
from lines import Slave, polling_serial, running, serial_bus

from edge_agent.commands import Commander
from edge_agent.gather import Shape
from edge_agent.orders import Allowed, CommandsConfig, Texts
from edge_agent.record import Recorder
from telemetry.clock import SystemClock
from telemetry.commands import Command, CommandState
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox

WORDS = CommandsConfig(
    (Allowed(),), texts=(Texts(("前方积水 请绕行", "限速 {number} km/h", ""), device="led-*"),)
)


def show(name, text, clock):
    return Command(name, "led-01", clock.now_ms() + 5000, metric="text", text=text)


@contextlib.asynccontextmanager
async def screen(folder, config=WORDS):
    """A screen on a real line, and a commander for it."""
    slave = Slave("led-01", 1, "text_block_gbk", {"screen_on": 1.0, "brightness": 80.0}, {"text": "欢迎"})
    async with (
        serial_bus(folder, [slave]) as link,
        Keeper(Outbox.open(folder / "o.db", max_bytes=10**7)) as keeper,
    ):
        recorder = Recorder(Shape("e", "json", 200_000), SystemClock())
        commander = Commander(config, {"led-01": slave.device()}, keeper, recorder, SystemClock())
        async with polling_serial(link, [slave.device()], 0.2) as (_, poller):
            commander.serves(poller)
            async with running(commander.run()):
                yield slave, commander


async def test_a_screen_shows_an_agreed_text_and_reads_it_back(tmp_path):
    async with screen(tmp_path) as (led, commander):
        result = await (await commander.take(show("c1", "限速 40 km/h", SystemClock())))
        assert (result.state, result.text_back, result.problem) == (CommandState.VERIFIED, "限速 40 km/h", "")
        assert led.attributes["text"] == "限速 40 km/h"
        (write,) = led.writes
        assert b"".join(word.to_bytes(2, "big") for word in write[2]) == "限速 40 km/h".encode("gbk").ljust(
            64, b"\0"
        )


async def test_a_screen_that_shows_something_else_fails_the_command(tmp_path):
    async with screen(tmp_path) as (led, commander):
        led.write = lambda *_: True  # takes it and goes on as before
        result = await (await commander.take(show("c1", "前方积水 请绕行", SystemClock())))
        assert (result.state, result.problem) == (
            CommandState.FAILED,
            "reads back '欢迎' instead of '前方积水 请绕行'",
        )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("今晚打折", "'今晚打折' is none of the texts that 'led-01' may show: '前方积水 请绕行', '限速 {number} km/h', ''"),
        ("限速 40 km/h\n", "is none of the texts"),
        ("限速 4000000 km/h", "is none of the texts"),
    ],
)  # fmt: skip
async def test_nobody_shows_a_text_that_was_not_agreed_upon(tmp_path, text, problem):
    async with screen(tmp_path) as (led, commander):
        result = await commander.take(show("c1", text, SystemClock()))
        assert result.state is CommandState.REFUSED
        assert problem in result.problem
        assert led.writes == []


async def test_a_text_that_the_screen_cannot_show_is_refused_though_it_is_agreed_upon(tmp_path):
    config = CommandsConfig(texts=(Texts(("积水{word}", "水" * 33)),))
    async with screen(tmp_path, config) as (led, commander):
        first = await commander.take(show("c1", "积水𠀀", SystemClock()))
        assert first.problem == "character 3 of the text, '𠀀', is not in GBK"
        second = await commander.take(show("c2", "水" * 33, SystemClock()))
        assert second.problem == "the text takes 66 bytes in GBK, the screen holds 64"
        assert led.writes == []


def test_a_template_with_a_blank_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"'\{speed\} km/h': no blank '\{speed\}'; there are"):
        Texts(("{speed} km/h",))
