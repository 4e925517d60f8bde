"""What a database alone tells of one-time codes: nothing; and what happens to its key."""

import contextlib
import re
import sqlite3

import pytest
import sqlalchemy as sa
from centers import write_config
from hypothesis import given
from hypothesis import strategies as st
from persons import MADE_BY
from test_center import yemai
from test_signing import code_of, enrol, invite, sign_in

from command_center.config import load_config
from command_center.people import links, sealing, users
from command_center.people.sealing import Seal
from command_center.people.users import User
from command_center.store import Store
from command_center.tables import alarms
from telemetry.errors import ConfigError, Malformed
from yemai.backup.plan import Plan
from yemai.backup.restoring import read, restore
from yemai.backup.taking import take

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
KEY = Seal(bytes(range(32)))


def whole(folder):
    """Every byte of the desk's database: itself and its log."""
    return b"".join(path.read_bytes() for path in folder.glob("desk.db*") if "backup" not in path.name)


async def test_the_database_holds_no_secret_that_a_code_can_be_made_of(world, tmp_path):
    secret = await enrol(world)
    token = await invite(world, "qian", "钱莉")
    shown = (await world.ask("POST", "/api/enrolment/open", json={"token": token})).json()["secret"]
    assert secret.encode() not in whole(tmp_path)
    assert shown.encode() not in whole(tmp_path), "nor the one of a link that is still open"
    await world.clock.move(60)
    assert (await sign_in(world, code=code_of(secret, world.clock))).status_code == 200
    key = tmp_path / "desk.codes.key"
    assert (key.stat().st_mode & 0o777, len(key.read_text().strip())) == (0o600, 64)


async def test_a_secret_copied_to_somebody_else_signs_him_in_no_more(world):
    secret = await enrol(world)
    other = await enrol(world, "qian", "钱莉")
    async with world.center.store.change() as db:
        mine = await users.find(db, "zhao")
        await users.save(db, User("qian", "钱莉", ("operator",), password=mine.password, totp=mine.totp))
    await world.clock.move(60)
    for stolen in (secret, other):
        answer = await sign_in(world, "qian", code=code_of(stolen, world.clock))
        assert answer.status_code == 401


@given(st.text(min_size=1), st.text(), st.text())
def test_what_is_sealed_opens_for_the_same_person_with_the_same_key_alone(secret, whose, other):
    sealed = KEY.close(secret, whose)
    assert sealing.is_sealed(sealed)
    assert KEY.open(sealed, whose) == secret
    assert KEY.close(secret, whose) != sealed, "never the same twice"
    with pytest.raises(Malformed):
        Seal(bytes(32)).open(sealed, whose)
    if other != whose:
        with pytest.raises(Malformed):
            KEY.open(sealed, other)


@given(st.text(), st.integers(2, 80), st.characters(min_codepoint=33, max_codepoint=126))
def test_what_was_changed_or_is_no_seal_at_all_does_not_open(junk, at, character):
    sealed = KEY.close(SECRET, "zhao")
    changed = sealed[:at] + character + sealed[at + 1 :]
    for one in (junk, "1:" + junk, changed, sealed[:-4]):
        if one not in {sealed, ""}:
            with pytest.raises(Malformed):
                KEY.open(one, "zhao")


async def test_what_an_older_centre_kept_bare_is_sealed_after_a_copy_was_made(url, tmp_path):
    async with Store(url) as store, store.change() as db:
        await users.add(db, User("zhao", "赵敏", ("operator",), totp=SECRET), MADE_BY, 0)
        token = await links.issue(db, "enrol", "zhao", 0)
        await links.show(db, token, SECRET)
        for index in alarms.indexes:
            await db.execute(sa.schema.DropIndex(index))
        for column in ("severity", "category", "class", "asks"):  # they came later
            await db.execute(sa.text(f"ALTER TABLE alarms DROP COLUMN {column}"))
        await db.execute(sa.text("UPDATE schema_versions SET version = 5 WHERE part = 'desk'"))
    async with Store(url) as store:
        seal = await sealing.ready(store, tmp_path / "codes.key")
        again = await sealing.ready(store, tmp_path / "codes.key")
        async with store.read() as db:
            kept = (await users.find(db, "zhao")).totp
            link = await links.find(db, token, 1, "enrol")
            version = (await db.execute(sa.text("SELECT version FROM schema_versions"))).scalar()
        assert version > 5
        assert {seal.open(kept, "zhao"), again.open(kept, "zhao")} == {SECRET}
        assert seal.open(link.totp, links.hash_of(token)) == SECRET
    if "sqlite" in url:
        assert SECRET.encode() not in whole(tmp_path), "not in a free page either"
        with contextlib.closing(sqlite3.connect(tmp_path / "desk.db.schema-5.backup")) as copy:
            assert SECRET.encode() in copy.execute("SELECT body FROM users").fetchone()[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda key: key.unlink(),
            "there is no such file, and 1 secrets of one-time codes are sealed with it",
        ),
        (lambda key: key.write_text("ab" * 32), "is not the key that the secret of 'zhao' was sealed with"),
        (lambda key: key.write_text("ab" * 31), "holds no key of 64 hexadecimal digits"),
        (lambda key: key.write_bytes(b"\xff" * 32), "cannot be read: not ASCII"),
        (lambda key: key.chmod(0o640), "has mode 0640, others may read it; chmod 600"),
    ],
    ids=["lost", "another", "cut", "binary", "readable"],
)
async def test_a_key_that_is_lost_wrong_or_readable_is_said_at_the_start_with_the_way_out(
    tmp_path, spoil, words
):
    key = tmp_path / "codes.key"
    async with Store(f"sqlite+aiosqlite:///{tmp_path}/desk.db") as store:
        seal = await sealing.ready(store, key)
        async with store.change() as db:
            await users.add(
                db, User("zhao", "赵敏", ("operator",), totp=seal.close(SECRET, "zhao")), MADE_BY, 0
            )
        await sealing.ready(store, key)
        spoil(key)
        there = key.exists()
        with pytest.raises(ConfigError, match=f"^{re.escape(f'{key}: {words}')}"):
            await sealing.ready(store, key)
        assert key.exists() == there, "none is made in its place"


def test_a_key_that_cannot_be_made_is_said_and_one_that_another_made_first_is_taken(tmp_path):
    with pytest.raises(ConfigError, match="cannot be made: No such file or directory"):
        sealing.make(tmp_path / "nowhere" / "codes.key")
    first = sealing.make(tmp_path / "codes.key")
    assert sealing.make(tmp_path / "codes.key").open(first.close(SECRET, "x"), "x") == SECRET
    assert [path.name for path in tmp_path.iterdir()] == ["codes.key"]


async def test_a_backup_with_its_key_signs_in_and_without_it_everybody_enrols_anew(tmp_path):
    config = write_config(tmp_path, 1, 8686)
    loaded = load_config(config)
    db_file, key = tmp_path / "desk.db", loaded.codes_key
    async with Store(loaded.desk.url) as store:
        seal = await sealing.ready(store, key)
        async with store.change() as db:
            kept = seal.close(SECRET, "zhao")
            await users.add(
                db, User("zhao", "赵敏", ("security_admin",), password="x", totp=kept), MADE_BY, 0
            )
    backup = take(Plan(tmp_path / "backups", sqlite=(db_file,), files=(key,)))
    code, out, err = await yemai("center", "forget-codes", "--config", str(config))
    assert (code > 0, "nothing is lost" in err) == (True, True), err
    key.chmod(0o644)
    code, out, err = await yemai("center", "forget-codes", "--config", str(config))
    assert (code > 0, "others may read it" in err) == (True, True), err
    for gone in (db_file, key):
        gone.unlink()
    list(restore(backup, read(backup)))
    assert key.stat().st_mode & 0o077 == 0
    async with Store(loaded.desk.url) as store, store.read() as db:
        seal = await sealing.ready(store, key)
        assert seal.open((await users.find(db, "zhao")).totp, "zhao") == SECRET

    key.unlink()
    code, out, err = await yemai("center", "forget-codes", "--config", str(config))
    assert code == 0, err
    [(login, token)] = re.findall(r"^(\w+)\thttp://127\.0\.0\.1:8686/#enrol=(\S+)$", out, re.MULTILINE)
    async with Store(loaded.desk.url) as store:
        await sealing.ready(store, key)
        async with store.read() as db:
            assert (await links.find(db, token, 1, "enrol")).login == login == "zhao"
            user = await users.find(db, "zhao")
            assert (user.password, user.totp) == ("", "")
