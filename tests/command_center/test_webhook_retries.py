"""A webhook's receiver that is away for two days gets its message when it is back, under the same id, and not a thousand times."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from desks import take
from tellers import telling
from test_lifecycle import transition

from command_center.channels import webhook
from telemetry.severity import Severity
from telemetry.transitions import Change

DAY_S = 24 * 3600
SETUP = """
people:
  room: {{name: {{zh: 平台, en: Platform}}, reach: {{hook: "HOOK"}}}}
channels:
  hook: {{kind: webhook, secrets: ["env:FAKE_HOOK"], hosts: ["127.0.0.1"], private: true}}
policies:
  - {{name: all, steps: [{{tell: [room], by: [hook]}}]}}
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite+aiosqlite:///{tmp_path}/desk.db"


@pytest.mark.parametrize(("back_after_s", "status", "state"), [(2 * DAY_S, 503, "accepted"), (9 * DAY_S, 503, "expired"), (2 * DAY_S, 410, "failed")])  # fmt: skip
async def test_it_is_tried_for_three_days_and_then_given_up(
    tmp_path, monkeypatch, url, clock, back_after_s, status, state
):
    monkeypatch.setenv("FAKE_HOOK", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    heard, begin = [], clock.now

    async def hear(request):
        heard.append((clock.now - begin, request.headers["webhook-id"]))
        return web.Response(status=200 if clock.now - begin >= back_after_s * 1000 else status)

    app = web.Application()
    app.router.add_post("/hook", hear)
    async with TestServer(app) as server:
        monkeypatch.setattr(webhook.Gate, "check", lambda *_: "127.0.0.1")  # it has no certificate
        setup = SETUP.replace("HOOK", str(server.make_url("/hook")), 1)
        async with telling(tmp_path, monkeypatch, url, clock, setup) as told:
            alarm = transition(0, Change.BEGAN, Severity.RED)
            await take(told.desk, alarm)
            await told.turn(2)
            for hours in (*[0.05] * 30, *[0.5] * 60, *[2.0] * 60):
                await clock.move(hours * 3600)
                await told.turn(1)
            [notice] = [one for one in await told.notices(alarm.alarm) if "channel" in one]
    assert notice["state"] == state
    assert len({key for _, key in heard}) == 1, "one id, by which the receiver knows it again"
    assert len(heard) == (1 if status == 410 else len(heard))
    assert len(heard) <= 1 + len(webhook.RETRIES_S)
    if state == "accepted":
        assert heard[-1][0] >= back_after_s * 1000
