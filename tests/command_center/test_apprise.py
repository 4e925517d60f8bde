"""The long tail by apprise, before a real HTTP server: taken is accepted and no more, and nothing of the URL gets out."""

import asyncio
import builtins
import importlib
import logging
import subprocess
import sys

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from desks import take
from tellers import SETUP, telling
from test_telling import began, states

from command_center import policies
from command_center.channel import Message
from command_center.channels import apprise as channel
from command_center.channels._fence import fence
from telemetry.config import Secret
from telemetry.errors import ConfigError, Unavailable

SECRET = "s3cr3t-of-this-url"
MESSAGE = Message("a/1.0/wang/0", "[红色 告警]\n火", "东街 3 号\n" + "警" * 2000, urgent=True)


class Receiver:
    """Keeps what it gets; ``answer`` is its status, ``hang`` lets it wait."""

    def __init__(self):
        self.got, self.answer, self.location = [], 200, ""
        self.hang = None

    async def take(self, request):
        self.got.append((request.path, await request.json()))
        if self.hang is not None:
            await self.hang.wait()
        headers = {"location": self.location} if self.location else {}
        return web.Response(status=self.answer, headers=headers)


@pytest.fixture
async def receiver():
    one, app = Receiver(), web.Application()
    app.router.add_route("*", "/{path:.*}", one.take)
    server = TestServer(app)
    await server.start_server()
    one.port = server.port
    yield one
    if one.hang is not None:
        one.hang.set()
    await server.close()


def opened(receiver, path="{address}", *, private=True):
    url = f"json://user:{SECRET}@127.0.0.1:{receiver.port}/{path}"
    return channel.Channel(channel.Config(Secret(url), private=private), None)


async def test_what_the_service_took_is_accepted_and_the_text_is_cut_by_bytes(receiver):
    receipt = await opened(receiver).send(MESSAGE, "wang/../x?y=1")
    assert (receipt.outcome, receipt.code) == ("accepted", "taken")
    [(path, body)] = receiver.got
    assert path == "/wang/../x?y=1", "the address is one part of the path, whatever it holds"
    assert body["title"] == "[红色 告警] 火"
    assert body["message"].startswith("东街 3 号\n警")
    assert len((body["title"] + body["message"]).encode()) <= 2000


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_what_it_did_not_take_failed(receiver, status):
    receiver.answer = status
    receipt = await opened(receiver).send(MESSAGE, "wang")
    assert (receipt.outcome, receipt.code) == ("failed_temp", "not_taken")
    assert len(receiver.got) == 1, "it is the teller who tries again"


async def test_a_redirect_is_not_followed(receiver):
    receiver.answer, receiver.location = 307, f"http://127.0.0.1:{receiver.port}/elsewhere"
    assert (await opened(receiver, "x?redirect=yes&retry=3").send(MESSAGE, "")).outcome == "failed_temp"
    assert [path for path, _ in receiver.got] == ["/x"]


async def test_our_own_network_is_out_of_reach_unless_the_channel_says_private(receiver):
    receipt = await opened(receiver, private=False).send(MESSAGE, "wang")
    assert (receipt.outcome, receipt.code) == ("failed_perm", "refused")
    assert "not a public" in receipt.reason
    name = channel.Config(Secret(f"json://localhost:{receiver.port}/x"))
    assert (await channel.Channel(name, None).send(MESSAGE, "")).code == "refused"
    assert receiver.got == []


def test_behind_the_fence_no_program_starts_and_outside_it_all_is_as_before():
    with fence(private=True) as fenced:
        with pytest.raises(PermissionError):
            subprocess.run([sys.executable, "-c", ""], check=True)
        assert fenced.refused == "it would start a program"
    subprocess.run([sys.executable, "-c", ""], check=True)


async def test_who_does_not_answer_is_left_and_the_next_channel_has_the_red_alarm_within_five_seconds(
    receiver, tmp_path, monkeypatch, url, clock
):
    receiver.hang = asyncio.Event()
    monkeypatch.setattr(channel, "TIMEOUT_S", 0.2)
    monkeypatch.setenv("TAIL", f"json://user:{SECRET}@127.0.0.1:{receiver.port}/{{address}}")
    with_tail = (
        SETUP.replace("channels:\n", 'channels:\n  tail: {{kind: apprise, url: "env:TAIL", private: true}}\n')
        .replace("reach: {{app: wang", "reach: {{tail: wang, app: wang")
        .replace("by: [app, sms]", "by: [tail, app]")
    )
    async with telling(tmp_path, monkeypatch, url, clock, with_tail) as told:
        await take(told.desk, began())
        at = told.clock.now
        await told.turn()
        notices = await told.notices(began().alarm)
        assert states(notices)[:2] == [("tail", "wang", "failed"), ("app", "wang", "accepted")]
        assert told.got("wecom_app")[0]["at"] * 1000 - at <= 5000
        assert SECRET not in repr(notices)


async def test_no_time_is_left_to_a_thread_that_hangs(receiver, monkeypatch):
    receiver.hang = asyncio.Event()
    monkeypatch.setattr(channel, "TIMEOUT_S", 0.2)
    with pytest.raises(Unavailable, match=r"no answer in 0\.2 s") as raised:
        await opened(receiver).send(MESSAGE, "wang")
    assert SECRET not in str(raised.value)


async def test_no_log_error_or_receipt_shows_the_url(receiver, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    for status in (200, 401, 500):
        receiver.answer = status
        assert SECRET not in repr(await opened(receiver, f"{SECRET}/x?:{SECRET}=1").send(MESSAGE, ""))
    assert receiver.got[0][0] == f"/{SECRET}/x", "it was in the address"
    receipt = await channel.Channel(
        channel.Config(Secret(f"json://u:{SECRET}@127.0.0.1:1/x"), private=True), None
    ).send(MESSAGE, "")
    assert receipt.outcome == "failed_temp"
    assert SECRET not in repr(receipt)
    assert SECRET not in "".join(one.getMessage() for one in caplog.records if one.name != "aiohttp.access")
    assert SECRET not in "".join(capfd.readouterr())
    assert repr(opened(receiver)._config).count("***") == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"{SECRET}", "no apprise URL"),
        (f"wecombot://{SECRET}", "use kind 'wecom_robot'"),
        (f"dingtalk://{SECRET}/1", "use kind 'dingtalk_robot'"),
        (f"nosuch://{SECRET}", "cannot read this 'nosuch' URL"),
        (f"json://u:{SECRET}@{{address}}/x", "nobody's address names a host"),
        (f"ntfys://{SECRET}@ntfy.example/one/two", "several targets"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_its_place_and_without_itself(
    tmp_path, monkeypatch, capfd, url, says
):
    monkeypatch.setenv("TAIL", url)
    path = tmp_path / "notify.yaml"
    path.write_text("people: {}\npolicies: []\nchannels: {tail: {kind: apprise, url: 'env:TAIL'}}\n", "utf-8")
    with pytest.raises(ConfigError, match=r"notify\.yaml: \$\.channels\.tail") as raised:
        policies.load(path)
    assert says in str(raised.value)
    assert SECRET not in str(raised.value) + "".join(capfd.readouterr())


def test_without_the_package_the_error_names_the_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **more):
        if name == "apprise" or name.startswith("apprise."):
            raise ImportError("No module named 'apprise'")
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, channel.__name__)
    path = tmp_path / "notify.yaml"
    path.write_text("people: {}\npolicies: []\nchannels: {tail: {kind: apprise, url: 'env:X'}}\n", "utf-8")
    with pytest.raises(ConfigError, match=r"\$\.channels\.tail\.kind: .*yemai\[apprise\]"):
        policies.load(path)
    monkeypatch.undo()
    sys.modules[channel.__name__] = channel
    assert importlib.import_module(channel.__name__) is channel
