"""The doctor finds nothing wrong with what is shipped, and names each thing that is made wrong on purpose."""

import re
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import msgspec
import pytest
from databases import InfluxDB
from typer.testing import CliRunner

from cloud_ingest.config import LedgerConfig
from cloud_ingest.ledger import Ledger
from cloud_ingest.registry.database import Database
from telemetry.broker import BrokerConfig
from yemai.commands.doctor import app
from yemai.doctor.examine import examine
from yemai.doctor.plan import Plan, StoreToAsk

NOW = datetime.now(UTC)


class Clock(HTTPServer):
    """Tells the time, wrong by ``off``."""

    off = timedelta(0)

    def __init__(self):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()

            def date_time_string(self, timestamp=None):
                del timestamp
                return (datetime.now(UTC) + self.server.off).strftime("%a, %d %b %Y %H:%M:%S GMT")

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def clock():
    server = Clock()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site(broker, clock, tmp_path):
    """An installation as it should be."""
    url = f"sqlite:///{tmp_path}/registry.db"
    database = Database(url, {})
    database.open()
    database.close()
    issued = broker.pki / "issued"
    plan = Plan(
        broker_config=broker.config,
        broker=BrokerConfig(
            "127.0.0.1",
            broker.port,
            ca=broker.pki / "ca.crt",
            certificate=issued / "doctor.crt",
            key=issued / "doctor.key",
        ),
        certificates=(broker.here / "broker.crt", issued / "center.crt"),
        crl=broker.here / "crl.pem",
        clocks=(f"http://127.0.0.1:{clock.server_port}/",),
        disks=(tmp_path,),
        databases=(tmp_path / "registry.db",),
    )
    return SimpleNamespace(plan=plan, broker=broker, clock=clock, folder=tmp_path, now=NOW)


def troubles(site):
    return {finding.id: finding for finding in examine(site.plan, site.now) if finding.level != "ok"}


async def test_what_is_shipped_is_found_safe(site):
    assert troubles(site) == {}
    looked_at = {finding.id for finding in examine(site.plan, site.now)}
    assert looked_at == {
        "broker_config",
        "broker_running",
        "certificate",
        "crl",
        "secret",
        "clock",
        "disk",
        "database",
    }


def _without(*options):
    def plant(site, _):
        lines = site.broker.config.read_text().splitlines(keepends=True)
        site.broker.config.write_text("".join(line for line in lines if line.split(" ")[0] not in options))

    return plant


def _instead(old, new):
    def plant(site, _):
        text = site.broker.config.read_text()
        assert old in text
        site.broker.config.write_text(text.replace(old, new))

    return plant


def _plain_listener(site, _):
    _without("certfile", "keyfile", "cafile")(site, _)
    _instead(f"listener {site.broker.port} 127.0.0.1", "listener 1883")(site, _)


def _readable_key(site, _):
    (site.broker.here / "broker.key").chmod(0o644)


def _ending(site, _):
    site.broker.authority.renew("center", days=10)


def _ended(site, _):
    site.now = NOW + timedelta(days=398)
    site.plan = msgspec.structs.replace(site.plan, crl=None)


def _stale_list(site, _):
    site.now = NOW + timedelta(days=397, hours=1)
    site.plan = msgspec.structs.replace(site.plan, certificates=())


def _wrong_clock(site, _):
    site.clock.off = timedelta(minutes=-5)


def _full_disk(_, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=100, used=96, free=4))


def _schema(revision):
    def plant(site, _):
        with sqlite3.connect(site.folder / "registry.db") as db:
            db.execute("DELETE FROM alembic_version")
            if revision:
                db.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        db.close()

    return plant


def _ledger(version):
    def plant(site, _):
        path = site.folder / "ledger.db"
        Ledger(LedgerConfig(path)).close()
        with sqlite3.connect(path) as db:
            db.execute("UPDATE schema_versions SET version = ? WHERE part = 'ledger'", (version,))
        db.close()
        site.plan = msgspec.structs.replace(site.plan, databases=(path,))

    return plant


def _desk_before_versions(site, _):
    path = site.folder / "desk.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript((Path(__file__).parent / "schemas" / "desk-1.sql").read_text("utf-8"))
    db.close()
    site.plan = msgspec.structs.replace(site.plan, databases=(path,))


def _broken_database(site, _):
    data = bytearray((site.folder / "registry.db").read_bytes())
    data[4096 : 4096 * 4] = b"\xff" * (4096 * 3)
    (site.folder / "registry.db").write_bytes(data)


def _client_rights(site, _):
    (site.broker.here / "acl").write_text("pattern readwrite yemai/v1/yeji/%c/#\n")


def _rights_for_all(site, _):
    (site.broker.here / "acl").write_text("topic readwrite #\n")


def _store_away(site, _):
    site.plan = msgspec.structs.replace(site.plan, store=StoreToAsk("http://127.0.0.1:9"))


def _wrong_port(site, _):
    broker = msgspec.structs.replace(site.plan.broker, port=9)
    site.plan = msgspec.structs.replace(site.plan, broker=broker)


PLANTED = {
    "queue limit left at its default": (_without("max_queued_messages"), "broker_max_queued_messages", "bad"),
    "memory without bound": (_instead("memory_limit 1073741824", "memory_limit 0"), "broker_memory_limit", "bad"),
    "packets without bound": (_without("max_packet_size"), "broker_max_packet_size", "bad"),
    "packets too small for an upload": (_instead("max_packet_size 300000", "max_packet_size 65536"), "broker_packet_too_small", "bad"),
    "persistence off": (_instead("persistence true", "persistence false"), "broker_persistence_off", "bad"),
    "anonymous clients": (_instead("allow_anonymous false", "allow_anonymous true"), "broker_anonymous", "bad"),
    "no TLS to the network": (_plain_listener, "broker_no_tls", "bad"),
    "no ACL": (_without("acl_file"), "broker_no_acl", "bad"),
    "rights by client id": (_client_rights, "broker_acl_wide", "bad"),
    "rights for everybody": (_rights_for_all, "broker_acl_wide", "bad"),
    "clients name themselves": (_without("use_username_as_clientid"), "broker_identity", "bad"),
    "a key that all may read": (_readable_key, "secret_readable", "bad"),
    "a certificate that ends": (_ending, "certificate_ends", "warning"),
    "a certificate that is over": (_ended, "certificate_over", "bad"),
    "a stale revocation list": (_stale_list, "crl_stale", "bad"),
    "a clock five minutes off": (_wrong_clock, "clock_off", "bad"),
    "a disk at 96 %": (_full_disk, "disk_full", "bad"),
    "an old schema": (_schema(""), "schema_old", "warning"),
    "a newer schema": (_schema("v9999"), "schema_newer", "bad"),
    "a ledger of an old schema": (_ledger(1), "schema_old", "warning"),
    "a ledger of a newer schema": (_ledger(99), "schema_newer", "bad"),
    "a desk from before versions": (_desk_before_versions, "schema_old", "warning"),
    "a broken database": (_broken_database, "database_broken", "bad"),
    "a store that is away": (_store_away, "store_unreachable", "bad"),
    "a broker that is away": (_wrong_port, "broker_unreachable", "bad"),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
async def test_it_names_what_is_wrong_and_only_that(site, monkeypatch, name):
    plant, wanted, level = PLANTED[name]
    plant(site, monkeypatch)
    found = troubles(site)
    assert set(found) == {wanted}
    assert found[wanted].level == level
    assert found[wanted].mend.zh
    assert found[wanted].mend.en


def test_every_finding_is_explained_to_whoever_runs_the_platform():
    root = Path(__file__).parents[2]
    code = "".join(path.read_text("utf-8") for path in (root / "yemai" / "doctor" / "checks").glob("*.py"))
    ids = set(re.findall(r'(?:bad|warning)\(\s*"([a-z_]+)"', code))
    guide = (root / "docs" / "operate.md").read_text("utf-8")
    assert len(ids) > 25
    assert [name for name in ids if f"`{name}`" not in guide] == []


async def test_a_broker_that_has_dropped_messages_is_told_of(mosquitto_with):
    broker = await mosquitto_with("max_queued_messages 1\nmax_inflight_messages 1\nsys_interval 1\n")
    import aiomqtt
    from waiting import wait_until

    async with aiomqtt.Client("127.0.0.1", broker.port, identifier="slow", clean_session=False) as slow:
        await slow.subscribe("a", qos=1)
    async with aiomqtt.Client("127.0.0.1", broker.port) as fast:
        for _ in range(50):
            await fast.publish("a", b"x", qos=1)
    plan = Plan(broker=BrokerConfig("127.0.0.1", broker.port))

    async def told():
        return {finding.id for finding in examine(plan, NOW)} == {"broker_dropped"}

    await wait_until(told, 10, "the counter to be published")


async def test_it_reads_which_influxdb_runs(tmp_path):
    if not InfluxDB.find():
        pytest.skip("influxd is not installed (apt install influxdb)")
    server = InfluxDB(tmp_path / "influx").start()
    try:
        (finding,) = examine(Plan(store=StoreToAsk(server.url)), NOW)
    finally:
        server.stop()
    assert finding.level == "ok"
    assert "InfluxDB 1.6" in finding.told.en


def test_the_command_ends_with_1_when_something_is_bad(tmp_path, monkeypatch):
    monkeypatch.setenv("YEMAI_LANG", "en")
    config = tmp_path / "doctor.toml"
    key = tmp_path / "token"
    key.write_text("x")
    key.chmod(0o604)
    config.write_text(f'secrets = ["{key}"]\n')
    told = CliRunner().invoke(app, ["--config", str(config)])
    assert told.exit_code == 1
    assert "BAD      secret_readable" in told.output
    assert f"chmod 600 {key}" in told.output
    key.chmod(0o600)
    assert CliRunner().invoke(app, ["--config", str(config)]).exit_code == 0
    assert CliRunner().invoke(app, ["--config", str(config), "--strict"]).exit_code == 0
    assert '"level":"ok"' in CliRunner().invoke(app, ["--config", str(config), "--json"]).output


def test_a_warning_alone_ends_the_command_with_1_only_when_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("YEMAI_LANG", "en")
    path = tmp_path / "desk.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript((Path(__file__).parent / "schemas" / "desk-1.sql").read_text("utf-8"))
    db.close()
    config = tmp_path / "doctor.toml"
    config.write_text('databases = ["desk.db"]\n')
    told = CliRunner().invoke(app, ["--config", str(config)])
    assert (told.exit_code, "schema_old: " in told.output) == (0, True)
    assert CliRunner().invoke(app, ["--config", str(config), "--strict"]).exit_code == 1
    assert CliRunner().invoke(app, ["--config", str(config), "--loose"]).exit_code == 2
