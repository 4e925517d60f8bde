"""The restore drill: what was acknowledged before the backup is there afterwards, though the writers never paused."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner
from waiting import wait_until

from cloud_ingest.config import LedgerConfig
from cloud_ingest.ledger import Ledger
from cloud_ingest.registry.database import Database
from cloud_ingest.stores import duckdb
from device_profiles.vocabulary import load_classes
from telemetry.errors import ConfigError, Refused, Unavailable
from yemai.backup.plan import Plan, Postgres, load_plan
from yemai.backup.restoring import read, restore
from yemai.backup.taking import backups, take
from yemai.commands.backup import app as backup_app
from yemai.commands.restore import app as restore_app

T0 = 1_764_000_000_000
WRITER = Path(__file__).with_name("drill_writer.py")
WRITTEN = ("ledger", "samples", "desk", "registry")


class Writer:
    """A process that commits to ledger, DuckDB, desk and registry, and tells of each commit."""

    def __init__(self, folder):
        self.told = folder / "acknowledged"
        with self.told.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(WRITER), str(folder)], stdout=out, cwd=Path.cwd()
            )

    def acknowledged(self):
        """Return how much of each is committed."""
        found = dict.fromkeys(WRITTEN, 0)
        for line in self.told.read_text().splitlines()[:-1]:
            what, _, count = line.partition(" ")
            found[what] = int(count)
        return found

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
async def writer(tmp_path):
    writer = Writer(tmp_path)

    async def runs():
        return min(writer.acknowledged().values()) > 5

    await wait_until(runs, 60, "the writer to commit")
    yield writer
    writer.kill()


def _alarms_of(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return {int(name.removeprefix("a")) for (name,) in db.execute("SELECT id FROM alarms")}


async def test_under_a_hundred_writes_a_second_nothing_acknowledged_before_the_backup_is_missing(
    tmp_path, writer
):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "own.yaml").write_text("rules: []\n")
    plan = Plan(
        tmp_path / "backups",
        sqlite=tuple(tmp_path / name for name in ("ledger.db", "desk.db", "registry.db")),
        duckdb=(tmp_path / "samples.duckdb",),
        files=(tmp_path / "rules",),
    )
    before, began = writer.acknowledged(), time.monotonic()
    made = take(plan)
    took, at_end = time.monotonic() - began, writer.acknowledged()

    async def went_on():
        return all(count > at_end[what] for what, count in writer.acknowledged().items())

    await wait_until(went_on, 30, "the writer to go on")
    after, for_s = writer.acknowledged(), time.monotonic() - began
    with pytest.raises(Refused, match=r"ledger.db is in use by process \d+ .*; stop it, then restore"):
        list(restore(made, read(made)))
    writer.kill()
    for path in (path for end in ("ledger.db*", "desk.db*", "registry.db*") for path in tmp_path.glob(end)):
        path.write_bytes(b"lost")
    began = time.monotonic()
    back = list(restore(made, read(made)))
    rates = ", ".join(f"{what} {(after[what] - before[what]) / for_s:.0f}" for what in WRITTEN)
    print(
        f"drill: backup {took:.2f} s, restore {time.monotonic() - began:.2f} s; writes a second meanwhile: {rates}; acknowledged before: {before}"
    )
    assert len(back) == 5

    ledger = Ledger(LedgerConfig(tmp_path / "ledger.db"))
    assert [seq for seq in range(1, before["ledger"] + 1) if not ledger.knows("edge-01", "b", seq)] == []
    assert ledger.outbox.counters().messages >= before["ledger"]
    with ledger.transaction():
        assert ledger.outbox.put(lambda _: b"new") > 1 << 32, (
            "a seq that was given after the backup must not come again"
        )
    ledger.close()
    store = duckdb.Store(duckdb.Config(tmp_path / "samples.duckdb"), load_classes(), lambda _: {})
    found = {time for time, *_ in store.history("noise_monitor", "n1", "sound_level", (0, 2**60), 0, "mean")}
    store.close()
    assert {T0 + seq * 1000 for seq in range(1, before["samples"] + 1)} <= found
    assert set(range(1, before["desk"] + 1)) <= _alarms_of(tmp_path / "desk.db")
    registry = Database(f"sqlite:///{tmp_path}/registry.db", {})
    assert {f"edge-{n}" for n in range(1, before["registry"] + 1)} <= set(registry.decisions("agent"))
    registry.close()
    assert (tmp_path / "rules" / "own.yaml").read_text() == "rules: []\n"
    assert (tmp_path / "ledger.db.before-restore").read_bytes() == b"lost"


def _database(path, rows=3):
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t (x)")
        db.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(rows)])
    db.close()
    return path


def test_a_copy_that_was_tampered_with_is_refused_before_anything_is_touched(tmp_path):
    path = _database(tmp_path / "a.db")
    made = take(Plan(tmp_path / "backups", sqlite=(path,)))
    copy = next(made.glob("*.db"))
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigError, match="is not what was written; take an older backup"):
        read(made)
    copy.unlink()
    with pytest.raises(ConfigError, match=f"the copy of {path} is missing"):
        read(made)
    manifest = json.loads((made / "manifest.json").read_text())
    (made / "manifest.json").write_text(json.dumps({**manifest, "v": 99}))
    with pytest.raises(ConfigError, match="a newer one; restore with that version"):
        read(made)


def test_a_backup_that_fails_leaves_none_behind_and_says_why(tmp_path):
    good, broken = _database(tmp_path / "a.db"), tmp_path / "b.db"
    broken.write_bytes(b"this is no database, but long enough to be looked at" * 100)
    plan = Plan(tmp_path / "backups", sqlite=(good, broken))
    with pytest.raises(Unavailable, match=r"b.db: cannot be backed up: file is not a database"):
        take(plan)
    with pytest.raises(Unavailable, match=r"missing.db: cannot be backed up"):
        take(Plan(tmp_path / "backups", sqlite=(tmp_path / "missing.db",)))
    assert list((tmp_path / "backups").iterdir()) == []


def test_the_oldest_backups_go_and_unfinished_ones_do_not_count(tmp_path):
    plan = Plan(tmp_path / "backups", keep=2, sqlite=(_database(tmp_path / "a.db"),))
    made = [take(plan) for _ in range(3)]
    (tmp_path / "backups" / ".20990101T000000.000000Z.partial").mkdir()
    assert backups(plan.into) == made[1:]
    assert all(path.stat().st_mode & 0o077 == 0 for path in made[2].iterdir() if path.name != "manifest.json")


def test_only_what_is_asked_for_comes_back(tmp_path):
    one, other = _database(tmp_path / "a.db"), _database(tmp_path / "b.db")
    made = take(Plan(tmp_path / "backups", sqlite=(one, other)))
    for path in (one, other):
        path.unlink()
    with pytest.raises(Refused, match=r"the backup holds no /nowhere; it holds .*a.db"):
        list(restore(made, read(made), ("/nowhere",)))
    list(restore(made, read(made), (str(one),)))
    assert one.exists()
    assert not other.exists()


def test_a_pack_that_would_write_elsewhere_does_not(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.toml").write_text("x = 1\n")
    made = take(Plan(tmp_path / "backups", files=(tmp_path / "etc",)))
    pack = next(made.glob("*.tar.gz"))
    with tarfile.open(pack, "w:gz") as evil:
        evil.add(tmp_path / "etc", arcname="./etc")
        evil.add(tmp_path / "etc" / "a.toml", arcname="../outside.toml")
    from yemai.backup.restoring import _unpack

    with pytest.raises((OSError, tarfile.TarError)):
        _unpack(pack, tmp_path / "fresh")
    assert not (tmp_path / "outside.toml").exists()


def test_a_postgresql_desk_goes_and_comes_back(tmp_path, postgres):
    address = postgres.create()
    url = f"postgresql://{address}"

    def sql(words):
        done = subprocess.run(
            ["psql", "-q", "-A", "-t", url, "-c", words], check=True, capture_output=True, text=True
        )
        return done.stdout

    sql("CREATE TABLE alarms (id int); INSERT INTO alarms VALUES (1), (2)")
    made = take(Plan(tmp_path / "backups", postgres=(Postgres("desk", url),)))
    sql("DELETE FROM alarms; INSERT INTO alarms VALUES (99)")
    list(restore(made, read(made)))
    assert sql("SELECT id FROM alarms ORDER BY id").split() == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('into = "b"\n', "names nothing to back up; name sqlite"),
        ('into = "b"\nsqlite = ["a.db", "a.db"]\n', "is named twice"),
        ('into = "etc/b"\nfiles = ["etc"]\n', "which is to be backed up; put backups elsewhere"),
        ('into = "b"\nkeep = 0\nfiles = ["etc"]\n', "keep"),
    ],
)
def test_mistakes_in_the_plan_are_told(tmp_path, text, told):
    (tmp_path / "backup.toml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_plan(tmp_path / "backup.toml")


def test_the_commands_from_backup_to_restore(tmp_path, monkeypatch):
    monkeypatch.setenv("YEMAI_LANG", "en")
    path = _database(tmp_path / "a.db")
    (tmp_path / "backup.toml").write_text('into = "backups"\nsqlite = ["a.db"]\n')
    run = CliRunner().invoke
    told = run(backup_app, ["--config", str(tmp_path / "backup.toml")])
    assert told.exit_code == 0, told.output
    (made,) = backups(tmp_path / "backups")
    assert str(made) in told.output
    assert "whole: 1 items" in run(restore_app, ["--from", str(made), "--check"]).output
    path.unlink()
    assert "a.db.before-restore" not in run(restore_app, ["--from", str(made)]).output.splitlines()[0]
    assert path.exists()
