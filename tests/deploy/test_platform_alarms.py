"""What ails the platform itself is an alarm on the desk: over the shipped broker, by the ordinary path, to its end."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import agents as edge
import msgspec
import pytest
import world
from district_broker import AREA
from ports import free_port as another_port
from waiting import wait_until

import cloud_ingest.app
import command_center.app
import command_center.wellbeing
from cloud_ingest.config import LedgerConfig
from cloud_ingest.config import load_config as ingest_config
from cloud_ingest.judging import Packs
from cloud_ingest.wellbeing import Wellbeing as IngestWellbeing
from command_center.center import Center
from command_center.config import load_config as center_config
from command_center.desk import Desk
from command_center.heartbeat import SILENT_S
from command_center.lifecycle import Alarm
from command_center.store import Store
from command_center.wellbeing import AWAY_S, SIGNS, Wellbeing
from rules.pack import PLATFORM, load_pack
from telemetry.broker import BrokerConfig
from telemetry.readings import AgentStatus
from telemetry.testing import ManualClock


def _broker_table(broker, name):
    issued = broker.pki / "issued"
    return (
        f'[broker]\nhost = "127.0.0.1"\nport = {broker.port}\nca = "{broker.pki}/ca.crt"\n'
        f'certificate = "{issued}/{name}.crt"\nkey = "{issued}/{name}.key"\n'
    )


def _on_desk(folder):
    """Return the standing alarms by device and rule, with their colours."""
    with contextlib.closing(sqlite3.connect(folder / "desk.db")) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'alarms'").fetchone():
            return {}
        alarms = [msgspec.json.decode(body, type=Alarm) for (body,) in db.execute("SELECT body FROM alarms")]
    return {(a.device, a.rule): a.severity.name.lower() for a in alarms if a.active}


@contextlib.asynccontextmanager
async def _running(*programs):
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for run, config in programs:
            tasks.create_task(run(config, stop=stop))
        try:
            yield
        finally:
            stop.set()


async def test_certificates_that_end_are_alarms_until_they_are_renewed(broker, tmp_path, monkeypatch):
    broker.authority.issue("edge-01", "agent", days=10)
    broker.authority.renew("broker", days=2)
    broker.authority.renew("center", days=20)
    broker.install()
    await broker.restart()
    monkeypatch.setattr(cloud_ingest.app, "EVERY_S", 0.1)
    monkeypatch.setattr(command_center.wellbeing, "EVERY_S", 0.1)
    api = another_port()

    devices, sites = world.write_registry(tmp_path)
    (tmp_path / "ingest.toml").write_text(
        f'area = "{AREA}"\nproducer = "ingest-1"\nledger = {{ path = "ledger.db" }}\nstore = {{ path = "samples.duckdb" }}\napi = {{ port = {api} }}\n'
        f'registry = {{ devices = "{devices}", sites = "{sites}" }}\n{_broker_table(broker, "ingest-1")}'
    )
    (tmp_path / "center.toml").write_text(
        f'area = "{AREA}"\ndata = {{ url = "http://127.0.0.1:{api}" }}\npage = {{ port = {another_port()} }}\n'
        f'audit = {{ key = "audit.key" }}\n'
        f'desk = {{ url = "sqlite+aiosqlite:///{tmp_path}/desk.db" }}\n{_broker_table(broker, "center")}'
    )
    (tmp_path / "edge-01.toml").write_text(
        f'agent = "edge-01"\narea = "{AREA}"\n{_broker_table(broker, "edge-01")}[outbox]\npath = "edge.db"\n{edge.NOWHERE}'
    )
    wanted = {
        ("edge-01", "edge_agent.certificate_ends"): "yellow",
        ("ingest-1", "ingest.broker_certificate_ends"): "orange",
        ("center", "command_center.certificate_days"): "blue",
    }
    programs = (
        (cloud_ingest.app.run, ingest_config(tmp_path / "ingest.toml")),
        (command_center.app.run, center_config(tmp_path / "center.toml")),
    )
    agent = await edge.start(tmp_path / "edge-01.toml")
    try:
        async with _running(*programs):

            async def stand():
                return wanted.items() <= _on_desk(tmp_path).items()

            await wait_until(stand, 40, "the certificates to be on the desk")
            broker.authority.renew("edge-01")
            broker.authority.renew("center")
            await edge.stop(agent)
            agent = await edge.start(tmp_path / "edge-01.toml")

            async def is_over():
                return not {("edge-01", "edge_agent.certificate_ends"), ("center", "command_center.certificate_days")} & set(_on_desk(tmp_path))  # fmt: skip

            await wait_until(is_over, 40, "the alarms to end with the renewal")
            assert ("ingest-1", "ingest.broker_certificate_ends") in _on_desk(tmp_path)
    finally:
        await edge.stop(agent)


class Links:
    connected, ok_ms, silent = True, None, None

    def silent_s(self):
        return self.silent


@pytest.fixture
async def watched(tmp_path):
    """The centre's own watch on a real desk, on a clock and with links that a test moves."""
    clock, links = ManualClock(), Links()
    path = tmp_path / "center.toml"
    path.write_text(
        f'area = "a"\nbroker = {{ host = "127.0.0.1" }}\ndata = {{ url = "http://127.0.0.1:1" }}\n'
        f'desk = {{ url = "sqlite+aiosqlite:///{tmp_path}/desk.db" }}\n'
    )
    config = center_config(path)
    async with Store(config.desk.url) as store:
        desk = Desk(store, clock)
        fields = dict.fromkeys(Center.__struct_fields__)
        fields |= {
            "config": config,
            "store": store,
            "desk": desk,
            "data": links,
            "feed": links,
            "clock": clock,
        }
        yield Wellbeing(Center(**fields)), links, clock, Path(tmp_path)


async def _pass(watch, links, clock, seconds, *, ingest=True):
    for _ in range(int(seconds / 15)):
        await clock.advance(15)
        if ingest:
            links.ok_ms = clock.now_ms()
        await watch.look()


async def test_a_broker_that_is_away_is_an_alarm_after_two_minutes_and_over_when_it_is_back(watched):
    watch, links, clock, folder = watched
    links.connected = False
    await _pass(watch, links, clock, AWAY_S - 15)
    links.connected = True
    await _pass(watch, links, clock, 15)
    links.connected = False
    await _pass(watch, links, clock, AWAY_S - 15)
    assert _on_desk(folder) == {}, "two short outages are none"
    await _pass(watch, links, clock, 60)
    assert _on_desk(folder) == {("center", "command_center.broker_away"): "orange"}
    links.connected = True
    await _pass(watch, links, clock, 15)
    assert _on_desk(folder) == {}


async def test_an_ingest_that_is_away_is_an_alarm_that_a_restart_of_the_centre_neither_forgets_nor_repeats(
    watched,
):
    watch, links, clock, folder = watched
    await _pass(watch, links, clock, 300, ingest=False)
    assert _on_desk(folder) == {("center", "command_center.ingest_away"): "orange"}
    again = Wellbeing(watch._center)
    await _pass(again, links, clock, 300, ingest=False)
    (alarm,) = await watch._center.desk.alarms(only_open=False, limit=9)
    assert clock.now_ms() - watch._center.desk.asserted_ms(alarm) <= 15_000, "it is asserted, and never stale"
    await _pass(again, links, clock, 15)
    assert _on_desk(folder) == {}
    assert len(await watch._center.desk.alarms(only_open=False, limit=9)) == 1


async def test_a_feed_without_heartbeats_is_an_alarm_while_broker_and_ingest_are_there(watched):
    watch, links, clock, folder = watched
    links.silent = SILENT_S + 1
    links.connected = False
    await _pass(watch, links, clock, 15)
    assert _on_desk(folder) == {}, "that the broker is away says it all"
    links.connected = True
    await _pass(watch, links, clock, 15)
    assert _on_desk(folder) == {("center", "command_center.feed_silent"): "orange"}
    links.silent = 20.0
    await _pass(watch, links, clock, 15)
    assert _on_desk(folder) == {}


async def test_a_watcher_outside_who_does_not_hear_us_is_an_alarm_until_he_does(watched):
    watch, links, clock, folder = watched
    unheard = [SILENT_S + 1, None, 0.0]
    heartbeat = SimpleNamespace(unheard_s=lambda: unheard[0])
    again = Wellbeing(msgspec.structs.replace(watch._center, heartbeat=heartbeat))
    seen = []
    while unheard:
        await _pass(again, links, clock, 15)
        seen.append(_on_desk(folder).get(("center", "command_center.watcher_deaf")))
        unheard.pop(0)
    assert seen == ["yellow", "yellow", None], "what is not known ends nothing"


async def test_a_disk_is_told_of_by_how_full_it_is(watched, monkeypatch):
    watch, links, clock, folder = watched
    used = [0]

    class Usage:
        total = 100

        @property
        def free(self):
            return 100 - used[0]

    monkeypatch.setattr("command_center.wellbeing.shutil.disk_usage", lambda _: Usage())
    seen = []
    for used[0] in (50, 86, 97, 90, 84, 82):
        await _pass(watch, links, clock, 150)
        seen.append(_on_desk(folder).get(("center", "command_center.disk_used")))
    assert seen == [None, "yellow", "orange", "yellow", "yellow", None]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(world, "Engine", lambda _, classes: Packs(None, classes).engine())
    bench = world.Bench(tmp_path)
    yield bench
    bench.close()


def _told(pipeline):
    return {
        (m.transition.device, m.transition.rule): m.transition.severity.name.lower()
        for m in pipeline.standing()
    }


class Told:
    def __init__(self, *statuses):
        self.statuses = statuses

    def agents(self):
        return list(self.statuses)


async def _observed(bench, *statuses, problem=""):
    config = SimpleNamespace(
        producer="ingest-1", ledger=LedgerConfig(bench.folder / "ledger.db"), broker=BrokerConfig("127.0.0.1")
    )
    wellbeing = IngestWellbeing(config, Told(*statuses), bench.ledger, lambda: problem, bench.clock)
    await wellbeing.look()
    return bench.pipeline.observe(wellbeing.frames(frozenset({"edge-01"})))


def _status(agent="edge-01", *, online=True, **metrics):
    return AgentStatus(agent, online=online, boot="b", since=1, now=1, metrics=metrics)


async def test_an_agents_alarm_outlives_restarts_and_registry_changes_and_ends_with_its_agent(bench):
    assert await _observed(bench, _status(certificate_days=10.0))
    wanted = {("edge-01", "edge_agent.certificate_ends"): "yellow"}
    assert _told(bench.pipeline) == wanted
    bench.pipeline.use(bench.registry)
    assert not bench.pipeline.tick()
    bench.close()
    bench.open()
    assert _told(bench.pipeline) == wanted
    assert not await _observed(bench, _status(online=False))
    assert not await _observed(bench, _status(certificate_days=10.0))
    assert len(bench.ledger.outbox.waiting(99)) == 1, "told once"
    kept = {name: device for name, device in bench.registry.devices.items() if device.agent != "edge-01"}
    bench.pipeline.use(msgspec.structs.replace(bench.registry, devices=kept))
    assert bench.pipeline.tick()
    assert _told(bench.pipeline) == {}


async def test_an_agent_that_nobody_registered_raises_nothing(bench):
    assert not await _observed(bench, _status("rogue", certificate_days=1.0, disk_used=99.0))
    assert _told(bench.pipeline) == {}


async def test_a_store_that_is_away_and_disks_that_fill_are_alarms(bench, monkeypatch):
    usage = SimpleNamespace(total=100, free=3)
    monkeypatch.setattr("cloud_ingest.wellbeing.shutil.disk_usage", lambda _: usage)
    figures = {"disk_used": 97.0, "readings_in_memory": 5.0, "buffer_lasts_s": 3600.0}
    for _ in range(25):
        await _observed(bench, _status(**figures), problem="refused")
        await bench.clock.advance(30)
    assert _told(bench.pipeline) == {
        ("edge-01", "edge_agent.disk_full"): "orange",
        ("edge-01", "edge_agent.disk_refuses"): "orange",
        ("edge-01", "edge_agent.buffer_fills"): "orange",
        ("ingest-1", "ingest.disk_full"): "orange",
        ("ingest-1", "ingest.store_away"): "yellow",
    }
    usage.free = 60
    await _observed(bench, _status(disk_used=10.0, readings_in_memory=0.0, buffer_lasts_s=1e6))
    assert _told(bench.pipeline) == {}
    assert sum(bench.store.count().values()) == 0, "the store is the devices'"


def test_every_alarm_of_the_platform_is_in_the_guide():
    guide = (Path(__file__).parents[2] / "docs" / "operate.md").read_text("utf-8")
    rules = [rule.id for path in PLATFORM.glob("*.yaml") for rule in load_pack(path).rules]
    rules += [sign.rule for sign in SIGNS]
    assert len(rules) > 12
    assert [rule for rule in rules if f"`{rule}`" not in guide] == []


async def test_a_message_at_which_ingest_fails_is_an_alarm_until_it_is_admitted(bench, monkeypatch):
    def fail(*_):
        raise IndexError("a fault of ours")

    await _observed(bench)
    monkeypatch.setattr(bench.pipeline._admission, "admit", fail)
    bench.deliver(bench.upload(1, {"sound_level": 50.0}))
    await bench.clock.advance(30)
    await _observed(bench)
    assert _told(bench.pipeline) == {("ingest-1", "ingest.faults"): "orange"}
    monkeypatch.undo()
    bench.ledger._db.execute("UPDATE quarantine SET again = 1")
    bench.pipeline.process_again()
    await bench.clock.advance(30)
    await _observed(bench)
    assert _told(bench.pipeline) == {}
