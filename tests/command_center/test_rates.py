"""Who asks without end is told when to come again, and nobody else notices."""

from contextlib import ExitStack

import pytest
from desks import take
from persons import BEARER
from test_lifecycle import LIFE
from worlds import world_in

from command_center.hub import MOST_OF_ONE, Client
from command_center.people import answering, sessions
from command_center.people.sessions import Caller
from telemetry.bucket import Buckets

AT_ONCE = 4  # a sixth of 24 a minute
LOW = "session_per_minute = 24, address_per_minute = 24"


@pytest.fixture
async def strict(tmp_path, clock):
    """The world with very low limits."""
    async with world_in(tmp_path, clock, LOW) as one:
        yield one


async def statuses(world, times, *asked, **more):
    return [(await world.ask(*asked, **more)).status_code for _ in range(times)]


async def test_who_polls_without_end_is_told_in_both_languages_when_to_come_again(strict):
    assert (
        await statuses(strict, AT_ONCE + 2, "GET", "/api/alarms", "operator") == [200] * AT_ONCE + [429] * 2
    )
    answer = await strict.ask("GET", "/api/holds", "operator")
    assert answer.headers["retry-after"] == "3"
    assert answer.json()["error"] == {
        "zh": "请求过于频繁（每分钟最多 24 次），请 3 秒后再试",
        "en": "more than 24 requests a minute; come again in 3 s",
        "reason": "rate",
    }
    await strict.clock.move(3)
    assert await statuses(strict, 2, "GET", "/api/alarms", "operator") == [200, 429], "one each 2.5 s"


async def test_a_page_that_polls_too_much_can_still_acknowledge_and_do(strict):
    await take(strict.center.desk, LIFE[0])
    assert 429 in await statuses(strict, 9, "GET", "/api/alarms", "operator")
    path = f"/api/alarms/{LIFE[0].alarm}"
    assert 429 in await statuses(strict, 9, "POST", f"{path}/comment", "operator", json={"comment": "x"})
    assert (await strict.ask("POST", f"{path}/acknowledge", "operator", json={})).status_code == 200


async def test_two_hundred_screens_behind_one_address_are_one_address_to_nobody(strict):
    now = strict.clock.now_ms()
    async with strict.center.store.change() as db:
        keys = [(await sessions.begin(db, "wall", f"wall:{n}", Caller(), now, 10**9))[0] for n in range(200)]
    assert 429 in await statuses(strict, 9, "GET", "/api/session"), "a stranger at that address"
    for key in keys:
        headers = {"Cookie": f"yemai={key}"}
        for path in ("/api/session", "/api/alarms"):
            assert (await strict.ask("GET", path, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/api/alarms", {}),
        ("GET", "/api/alarms", {"Cookie": "yemai=guess"}),
        ("GET", "/api/alarms", {"Authorization": "Bearer guess"}),
        ("POST", "/api/enrolment/open", {}),
        ("GET", "/cap/feed.atom", {}),
        ("POST", "/api/receipts/aliyun_sms/guess", {}),
        ("POST", "/api/answers/open", {}),
        ("POST", "/api/answers", {}),
    ],
)
async def test_whoever_is_not_known_shares_what_his_address_may_ask(strict, method, path, headers):
    body = {"json": {"token": "guess"}} if method == "POST" else {}
    seen = await statuses(strict, AT_ONCE + 1, method, path, headers=headers, **body)
    assert [status == 429 for status in seen] == [False] * AT_ONCE + [True]
    assert (await strict.ask("GET", "/api/session")).status_code == 429, "whatever is asked"
    assert (await strict.ask("GET", "/api/session", address="10.0.0.2")).status_code == 200
    assert await statuses(strict, 20, "GET", "/api/health/live") == [200] * 20, "who watches the centre"


async def test_the_link_of_a_message_acknowledges_whatever_its_address_has_asked(strict):
    await take(strict.center.desk, LIFE[0])
    now = strict.clock.now_ms()
    token, row = answering.made(answering.Link("n", LIFE[0].alarm, "姓名 operator", "sms"), now)
    async with strict.center.store.change() as db:
        await answering.keep(db, [row], now)
    assert 429 in await statuses(strict, 9, "GET", "/api/session")
    for path in ("/api/answers/open", "/api/answers"):
        assert (await strict.ask("POST", path, json={"token": token})).status_code == 200
    found, _ = await strict.center.desk.alarm(LIFE[0].alarm)
    assert found.acknowledged_by == "姓名 operator"


async def test_an_ipv6_network_is_one_address(strict):
    for n in range(AT_ONCE):
        assert (await strict.ask("GET", "/api/session", address=f"2001:db8::{n:x}")).status_code == 200
    assert (await strict.ask("GET", "/api/session", address="2001:db8::abcd")).status_code == 429
    assert (await strict.ask("GET", "/api/session", address="2001:db8:0:1::1")).status_code == 200


async def test_a_machines_key_has_a_rate_of_its_own(tmp_path, clock):
    async with world_in(tmp_path, clock, per_minute=30) as one:
        seen = await statuses(one, 6, "GET", "/api/holds", headers=BEARER)
        assert seen == [200] * 5 + [429]
        assert (await one.ask("GET", "/api/holds", "operator")).status_code == 200


async def test_no_session_takes_the_places_of_all_pages(world):
    hub, mine = world.center.hub, (await world.ask("GET", "/api/sessions", "operator")).json()[0]["id"]
    with ExitStack() as pages:
        for _ in range(MOST_OF_ONE):
            pages.enter_context(hub.client(Client(mine)))
        answer = await world.ask("GET", "/api/stream", "operator")
        assert (answer.status_code, answer.json()["error"]["zh"]) == (
            429,
            "此会话已打开 300 个页面，请先关闭一些",
        )
        assert hub.viewers_of(mine) == MOST_OF_ONE
    assert hub.viewers_of(mine) == 0


async def test_openapi_says_of_all_but_the_health_routes_that_they_may_answer_429_and_when_to_come_again(
    world,
):
    paths = world.api.openapi()["paths"]
    for path, ways in paths.items():
        for operation in ways.values():
            free = path.startswith("/api/health/")
            assert ("429" not in operation["responses"]) == free, path
            if not free:
                assert "Retry-After" in operation["responses"]["429"]["headers"]


def test_strangers_without_end_take_no_memory_without_end(clock):
    buckets = Buckets(clock, most=3)
    assert [buckets.take("a", 6) for _ in range(2)] == [0, 10]
    for other in "bc":
        buckets.take(other, 6)
    assert buckets.take("a", 6) == 10, "used since"
    buckets.take("d", 6)
    buckets.take("e", 6)
    assert [buckets.take(key, 6) for key in "eda"] == [10, 10, 10]
    assert buckets.take("b", 6) == 0, "forgotten"
