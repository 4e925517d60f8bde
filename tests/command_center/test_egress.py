"""Where a webhook may not lead: forty and more addresses, each refused before a byte is sent."""

import pytest

from command_center.channel import Message
from command_center.channels import webhook
from command_center.egress import Gate, is_public
from telemetry.config import Secret
from telemetry.errors import Refused, Unavailable

SCHEMES = [
    "http://hook.example/", "ftp://hook.example/", "file:///etc/passwd", "gopher://hook.example/", "//hook.example/",
    "hook.example", "javascript:alert(1)", "unix:/run/docker.sock", "",
]  # fmt: skip
HOSTS = [
    "https://evil.example/", "https://hook.example.evil.example/", "https://hook.example@evil.example/",
    "https://evil.example#@hook.example/", "https://evil.example\\@hook.example/", "https://hook.example:443@evil.example/",
    "https://user:pass@hook.example/", "https://hook.example%00.evil.example/", "https://hook.example%2eevil.example/",
    "https://evil.example?hook.example", "https://hook。example/", "https://hook.example\t.evil.example/",
    "https://hook.example\r\nHost: x/", " https://hook.example/", "https://hook.example /", "https://[::ffff:127.0.0.1",
    "https://hook.example:99999/", "https:///hook.example", "https://hook.example./",
]  # fmt: skip
LITERALS = [
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255",
    "224.0.0.1", "192.0.2.1", "198.18.0.1", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]", "[::ffff:a00:1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::7f00:1]", "[ff02::1]", "[2001:db8::1]", "[64:ff9b:1::1]",
]  # fmt: skip
ODD = ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.nip.invalid", "localhost"]
MESSAGE = Message("m1", "t", "x", urgent=False)


def channel(hosts, *, private=False):
    secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    return webhook.Channel(webhook.Config((secret,), tuple(hosts), private), None)


@pytest.mark.parametrize("url", SCHEMES + HOSTS)
def test_what_is_not_https_to_a_host_on_the_list_is_refused(url):
    with pytest.raises(Refused):
        Gate(["hook.example"]).check(url)


@pytest.mark.parametrize("host", LITERALS)
async def test_an_address_within_is_refused_even_when_somebody_put_it_on_the_list(host):
    with pytest.raises(Refused, match="not a public one"):
        await channel([host.strip("[]")]).send(MESSAGE, f"https://{host}/hook")


@pytest.mark.parametrize("host", ODD)
async def test_a_name_that_leads_within_is_refused(host):
    with pytest.raises((Refused, Unavailable)):
        await channel([host]).send(MESSAGE, f"https://{host}/hook")


def test_there_are_at_least_forty_of_them():
    assert len(SCHEMES + HOSTS + LITERALS + ODD) >= 40


def test_public_addresses_are_public():
    assert all(is_public(one) for one in ("8.8.8.8", "2400:3200::1", "::ffff:8.8.8.8", "64:ff9b::808:808"))


async def test_the_message_is_signed_as_the_standard_says_by_both_secrets(monkeypatch):
    from aiohttp import web
    from aiohttp.test_utils import TestServer

    heard = []

    async def hear(request):
        heard.append((dict(request.headers), await request.read()))
        return web.Response(status=200)

    app = web.Application()
    app.router.add_post("/hook", hear)
    async with TestServer(app) as server:
        secrets = (
            Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
            Secret("whsec_c2Vjb25kLXNlY3JldC1vZi10d28="),
        )
        sender = webhook.Channel(webhook.Config(secrets, ("127.0.0.1",), private=True), None)
        monkeypatch.setattr(
            sender._gate, "check", lambda _: "127.0.0.1"
        )  # this test's server has no certificate
        receipt = await sender.send(MESSAGE, str(server.make_url("/hook")))
    [(headers, body)] = heard
    assert receipt.outcome == "accepted"
    stamp = int(headers["webhook-timestamp"])
    expected = " ".join(webhook.sign(one.reveal(), "m1", stamp, body) for one in secrets)
    assert headers["webhook-signature"] == expected
    assert len(expected.split()) == 2
