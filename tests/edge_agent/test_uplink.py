"""What a way costs is counted however it ends, and it does not end because of what is wrong here."""

import asyncio
import contextlib

import msgspec
import pytest
from agents import NOWHERE, write_config
from lines import disk_hangs, running
from structlog.testing import capture_logs
from waiting import wait_until

from edge_agent.budget import Budget
from edge_agent.config import load_config
from edge_agent.uplink import Uplink
from edge_agent.way import Way
from telemetry import codecs, topics
from telemetry.errors import Unavailable
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox
from telemetry.readings import Ack, AgentStatus
from telemetry.testing import ManualClock


class PaperWay:
    """A way to the cloud on which each message costs 100 bytes; it is cut after ``lasts`` of them."""

    CODEC, WINDOW, PATIENCE_S, MOST_BYTES, LARGEST_BYTES = "json", 4, 2.0, 10_000, 10_000

    def __init__(self, lasts):
        self.lasts, self.sessions, self.sent = lasts, 0, []
        self.says, self.cut, self.is_free = asyncio.Queue(), asyncio.Event(), asyncio.Event()
        self.is_free.set()

    @contextlib.asynccontextmanager
    async def connect(self, _config, _calling, _clock):
        self.sessions, self.traffic = self.sessions + 1, 0
        yield self

    async def send(self, topic, payload, *, retain=False):
        del retain
        self.sent.append((topic, payload))
        await self.is_free.wait()
        if self.traffic >= 100 * self.lasts:
            raise Unavailable("cut")
        self.traffic += 100

    async def receive(self):
        while (said := await self.says.get()) is not None:
            yield said
        raise Unavailable("cut")


@pytest.fixture
async def uplink(tmp_path):
    """An uplink on the paper way, with something to send."""
    clock, box = ManualClock(), Outbox.open(tmp_path / "o.db", max_bytes=10**6)
    own = load_config(write_config(tmp_path, 1, NOWHERE))
    async with Keeper(box) as keeper:
        await keeper.put(lambda _: b"{}", samples=1)

        def made(way, hears=None):
            config = msgspec.structs.replace(own, uplink=Way("paper", way, None, 0.5, 100_000))
            status = lambda since: AgentStatus("edge-01", since is not None, keeper.boot, since or 0)  # noqa: E731
            return Uplink(config, keeper, clock, Budget(100_000, clock), status, hears or {}), clock, keeper

        yield made


async def test_a_way_that_is_cut_again_and_again_costs_what_it_costs(uplink):
    way = PaperWay(1)
    one, clock, _ = uplink(way)
    async with running(one.run()):
        await wait_until(lambda: way.sessions > 20 or clock.advance(1))
    assert one.budget.spent >= 20 * 100


async def test_a_full_disk_does_not_end_the_session_when_the_budget_cannot_be_written_down(uplink):
    way = PaperWay(1000)
    one, clock, keeper = uplink(way)
    async with running(one.run()):
        await wait_until(lambda: one.up.is_set() or clock.advance(0.1))
        await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 1"))
        told = way.traffic
        one.tell.set()
        await wait_until(lambda: way.traffic > told or clock.advance(0.1))
        for _ in range(20):
            await clock.advance(0.1)
            await asyncio.sleep(0.01)
        assert (one.up.is_set(), one.problem, way.sessions) == (True, "", 1)


async def test_what_has_come_is_done_though_the_way_is_cut_and_waits_for_no_other_topic(uplink):
    way, order, disk = PaperWay(1000), [], asyncio.Event()

    async def slow(payload):
        order.append(payload + b" begun")
        await disk.wait()
        order.append(payload + b" done")

    async def quick(payload):
        order.append(payload)

    one, clock, _ = uplink(way, {"cmd": slow, "config": quick})
    async with running(one.run()):
        for said in (("cmd", b"c1"), ("cmd", b"c2"), ("config", b"v2"), None):
            way.says.put_nowait(said)
        await wait_until(lambda: way.sessions > 1 or clock.advance(1))
        assert order == [b"c1 begun", b"v2"]
        disk.set()
        await wait_until(lambda: len(order) == 5)
        assert order[2:] == [b"c1 done", b"c2 begun", b"c2 done"]


async def test_who_waits_for_the_outbox_to_be_empty_takes_no_wake_up_from_the_sender(uplink):
    """At a stop, what was put while a message was being sent waited until that one counted as lost."""
    way = PaperWay(1000)
    way.PATIENCE_S = 1000.0
    one, clock, keeper = uplink(way)
    ack, up = topics.ack("test", "edge-01"), topics.up("test", "edge-01")

    def sent():
        return [payload for topic, payload in way.sent if topic == up]

    def acknowledge(seq):
        way.says.put_nowait((ack, codecs.codec("json").encode(Ack(keeper.boot, ((seq, seq),)))))

    async with running(one.run()):
        await wait_until(lambda: len(sent()) == 1 or clock.advance(0.1))
        acknowledge(1)
        await wait_until(lambda: keeper.size == 0)
        way.is_free.clear()
        await keeper.put(lambda _: b"second", samples=1)
        await wait_until(lambda: len(sent()) == 2)
        await keeper.put(lambda _: b"third", samples=1)
        emptied = asyncio.ensure_future(one.emptied())
        await keeper.counters()
        await keeper.counters()  # behind its look
        way.is_free.set()
        await wait_until(lambda: len(sent()) == 3)
        assert not emptied.done()
        acknowledge(2)
        acknowledge(3)
        await emptied


async def test_what_the_cloud_has_is_not_sent_again_though_the_disk_cannot_let_it_go(uplink):
    way = PaperWay(10_000)
    one, clock, keeper = uplink(way)
    ack, up = topics.ack("test", "edge-01"), topics.up("test", "edge-01")
    for n in range(300):
        await keeper.put(lambda _, n=n: f"{n}".encode(), samples=1)
    answered = 0
    async with running(one.run()):
        await wait_until(lambda: len(way.sent) == 2 or clock.advance(0.1))
        await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 1"))

        def cloud():
            nonlocal answered
            sent = [payload for topic, payload in way.sent if topic == up]
            for payload in sent[answered:]:
                seq = 1 if payload == b"{}" else int(payload) + 2
                way.says.put_nowait((ack, codecs.codec("json").encode(Ack(keeper.boot, ((seq, seq),)))))
            answered = len(sent)
            return answered >= 301

        await wait_until(cloud, 60)
        await wait_until(lambda: len(one.window.answered) == 301, what="the agent to have heard it all")
        for _ in range(20):
            cloud()
            await clock.advance(1)
            await asyncio.sleep(0.01)
        assert len({payload for topic, payload in way.sent if topic == up}) == 301
        assert answered == 301, "each once"
        assert (await keeper.counters()).messages == 301
        await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 0"))
        emptied = asyncio.ensure_future(one.emptied())
        await wait_until(lambda: emptied.done() or clock.advance(0.1))


async def test_what_is_acknowledged_while_the_disk_is_slow_makes_room_at_once_and_is_freed_together(uplink):
    """A transaction for each took longer than the window is patient: history was sent again and again."""
    way = PaperWay(1000)
    one, clock, keeper = uplink(way)
    ack = topics.ack("test", "edge-01")
    for n in range(4):
        await keeper.put(lambda _, n=n: f"{n}".encode(), samples=1)
    frees = []

    def acknowledge(seq):
        way.says.put_nowait((ack, codecs.codec("json").encode(Ack(keeper.boot, ((seq, seq),)))))

    def watch(sql):
        if sql.startswith("COMMIT"):
            frees.append(sql)

    async with running(one.run()):
        await wait_until(lambda: len(way.sent) == 2 or clock.advance(0.1))
        acknowledge(1)
        await wait_until(lambda: len(one.window) == 4 and not one.window.answered)
        await keeper.look(lambda box: box._db.set_trace_callback(watch))
        async with disk_hangs(keeper):
            for seq in (2, 3, 4, 5):
                acknowledge(seq)
            await wait_until(lambda: one.window.answered == ((2, 2), (3, 3), (4, 4), (5, 5)))
            left = asyncio.ensure_future(one.emptied())
        await left
        assert keeper.size == 0
        assert len(frees) <= 2, "the first by itself at most: its turn came before the others"
        await wait_until(lambda: not one.window.answered)
    assert len({payload for _, payload in way.sent}) == len(way.sent)


async def test_what_is_acknowledged_while_the_disk_refuses_to_let_go_is_freed_when_it_does(uplink):
    one, clock, keeper = uplink(PaperWay(1000))
    for n in range(2):
        await keeper.put(lambda _, n=n: f"{n}".encode(), samples=1)

    async def acknowledge(seq):
        await one._acknowledged(codecs.codec("json").encode(Ack(keeper.boot, ((seq, seq),))))

    async with running(one._free()):
        with capture_logs() as log:
            await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 1"))
            await acknowledge(1)
            await wait_until(lambda: log)
            await acknowledge(2)
            for _ in range(20):
                await clock.advance(0.5)
                await keeper.counters()
            assert [line["event"] for line in log] == ["cannot_free_messages"], "said once"
            assert one.window.answered == ((1, 1), (2, 2))
            emptied = asyncio.ensure_future(one.emptied())
            await acknowledge(3)
            await keeper.look(lambda box: box._db.execute("PRAGMA query_only = 0"))
            await wait_until(lambda: emptied.done() or clock.advance(0.5))
    assert one.window.answered == ()
