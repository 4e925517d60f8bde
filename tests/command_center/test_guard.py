"""Before any route: bodies that are too long or never end, and what other sites' pages send."""

import asyncio
import io

import pytest
from test_center import center, page_port  # noqa: F401 - fixtures

from command_center.guard import MOST_BYTES, Guard


class App:
    """An application that keeps what it got."""

    def __init__(self):
        self.bodies = []

    async def __call__(self, _, receive, send):
        self.bodies.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def ask(pieces, headers=(), method="POST"):
    app, said, pieces = App(), [], list(pieces)

    async def receive():
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message):
        said.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers]
    await Guard(app)({"type": "http", "method": method, "path": "/x", "headers": raw}, receive, send)
    return said[0]["status"], dict(said[0]["headers"]), app.bodies


async def test_a_body_in_pieces_arrives_whole_and_every_answer_has_the_headers():
    status, headers, bodies = await ask([b"a" * 70_000, b"b" * 70_000, b""])
    assert (status, bodies) == (200, [b"a" * 70_000 + b"b" * 70_000])
    assert headers[b"x-content-type-options"] == b"nosniff"
    assert b"default-src 'self'" in headers[b"content-security-policy"]


@pytest.mark.parametrize("told", [[], [("content-length", "10")]])
async def test_a_body_longer_than_a_mebibyte_is_refused_however_it_comes(told):
    status, _, bodies = await ask([b"x" * (MOST_BYTES // 2)] * 3, told)
    assert (status, bodies) == (413, [])


@pytest.mark.parametrize("length", [str(MOST_BYTES + 1), "9" * 30, "-1", "1e9"])
async def test_a_length_that_is_too_great_or_none_is_refused_before_a_byte_is_read(length):
    assert (await ask([], [("content-length", length)]))[0] == 413


async def test_a_body_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr("command_center.guard._BODY_S", 0.05)
    pieces = [b"x"]
    app, said = App(), []

    async def receive():
        if not pieces:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": True}

    async def send(message):
        said.append(message)

    await Guard(app)({"type": "http", "method": "POST", "path": "/x", "headers": []}, receive, send)
    assert (said[0]["status"], app.bodies) == (408, [])


async def test_a_long_body_to_the_running_centre_is_an_error_a_person_can_read(center, http):  # noqa: F811
    async with http.post(f"{center}/api/holds", data=io.BytesIO(b" " * (MOST_BYTES + 1))) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"] == {
            "zh": "请求正文超过 1 MiB",
            "en": "the body is longer than 1 MiB",
        }
