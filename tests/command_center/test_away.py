"""The desk's database stopped, locked or full under the running centre: nothing is acknowledged, the page says so, and it heals."""

import asyncio
import json
import resource
import sqlite3
from contextlib import contextmanager

import pytest
from conftest import missing
from databases import PostgreSQL
from test_lifecycle import T0, transition
from test_telling_process import town  # noqa: F401 - a fixture
from waiting import wait_until

from telemetry.severity import Severity
from telemetry.transitions import Change


def red(number):
    return transition(0, Change.BEGAN, Severity.RED, device=f"d{number}x", began=T0 + number * 60_000)


def told_of(town, number):  # noqa: F811
    return [one for one in town.vendors.told if f"d{number}x" in one["text"]]


async def health(town):  # noqa: F811
    """The next sign of health in the stream of the page."""
    async with town.http.get(f"{town.url}/api/stream") as stream:
        async for line in stream.content:
            if line.startswith(b"data: ") and b'"broker"' in line:
                return json.loads(line[6:])
    raise AssertionError("the stream ended")


async def lives_through(town, away):  # noqa: F811
    """Take ``away()`` from it; one alarm before, one in the meantime that is told of when it is back, and no other."""
    await town.feed.tell(1, red(1))
    await wait_until(lambda: 1 in town.feed.acked and told_of(town, 1))
    with away():
        await town.feed.tell(2, red(2))
        await wait_until(lambda: _is_away(town), 20, "the page to say so")
        deed = {"comment": "看到了"}
        status, said = await town.ask(f"/api/alarms/{red(1).alarm}/acknowledge", deed)
        assert (status, said["error"]["zh"]) == (503, "告警台数据库暂时不可用，操作未执行")
        assert town.feed.acked == {1}, "nothing is acknowledged that is not on the disk"
        assert (await town.ask("/api/health/live"))[0] == 200
        assert town.process.returncode is None
    await wait_until(lambda: _is_back(town), 30, "the page to say that it is back")

    async def caught_up():
        await town.feed.tell(2, red(2))  # as ingest's outbox does
        await asyncio.sleep(0.3)
        return 2 in town.feed.acked and told_of(town, 2)

    await wait_until(caught_up, 20, "the alarm that came meanwhile")
    first = [(one["vendor"], one["address"]) for one in told_of(town, 2)]
    assert first.count(("wecom_app", "wang")) == 1
    assert (await town.ask(f"/api/alarms/{red(1).alarm}/acknowledge", deed))[0] == 200
    said = (town.folder / "center.log").read_text("utf-8")
    assert "Traceback" not in said
    assert '"feed_waits"' in said
    assert '"feed_goes_on"' in said


async def _is_away(town):  # noqa: F811
    said = await health(town)
    return said["desk"] is False and said["broker"] and (await town.ask("/api/health/ready"))[0] == 503


async def _is_back(town):  # noqa: F811
    return (await health(town))["desk"] and (await town.ask("/api/health/ready"))[0] == 200


@contextmanager
def locked(town):  # noqa: F811
    """Another program holds the database for itself."""
    with sqlite3.connect(town.folder / "desk.db", isolation_level=None) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")
    db.close()


@contextmanager
def full(town):  # noqa: F811
    """No file of the centre's can grow: its database is longer than that, its log is not."""
    pid, most = town.process.pid, resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (16_384, most))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))


@pytest.mark.parametrize("away", [locked, full], ids=lambda away: away.__name__)
async def test_a_database_that_is_locked_or_full_is_waited_for(town, away):  # noqa: F811
    await lives_through(town, lambda: away(town))


@pytest.fixture
def server():
    if not PostgreSQL.find():
        missing("postgresql", "apt install postgresql")
    one = PostgreSQL().start()
    yield one
    one.remove()


async def test_a_postgresql_that_stops_and_starts_is_waited_for(town, server):  # noqa: F811
    town.process.terminate()
    await town.process.wait()
    words = town.config.read_text("utf-8").splitlines()
    words = [f'desk = {{ url = "postgresql+psycopg://{server.create()}" }}' if w.startswith("desk") else w for w in words]  # fmt: skip
    town.config.write_text("\n".join(words), "utf-8")
    await town.start()
    await wait_until(town.fed, 20)

    @contextmanager
    def stopped():
        server.stop()
        yield
        server.start()

    await lives_through(town, stopped)
