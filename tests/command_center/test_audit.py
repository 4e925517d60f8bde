"""The audit trail betrays every way to falsify it, over both databases."""

import hashlib

import pytest
import sqlalchemy as sa
from desks import LI, T0, WANG, deed, take
from test_lifecycle import LIFE

from command_center import audit, filed
from command_center.audit import GENESIS, KEPT_MS, Signer
from command_center.config import load_config
from command_center.tables import audit as table
from telemetry.errors import Malformed, Refused

DAY = 86_400_000


@pytest.fixture
def signer(tmp_path):
    return Signer(tmp_path / "audit.key")


async def fill(desk, count=6, at=T0):
    async with desk.store.change() as db:
        for n in range(count):
            await audit.write(db, at + n, WANG, "alarm.comment", f"a{n}", after={"text": "说明"})


async def findings(desk, checkpoints=(), key=None):
    async with desk.store.read() as db:
        return [(one.seq, one.problem) for one in await audit.verify(db, checkpoints, key)]


async def checkpoint(desk, signer):
    async with desk.store.read() as db:
        return signer.sign(await audit.head(db, T0))


async def restamp(db, rows):
    """What somebody with the database and this source would do: write a chain that agrees with itself."""
    await db.execute(table.delete())
    previous = GENESIS
    for row in rows:
        previous = hashlib.sha256(previous + row.body).digest()
        await db.execute(table.insert().values({**row._mapping, "hash": previous}))


async def test_a_chain_that_nobody_touched_is_whole(desk, signer):
    await fill(desk)
    assert await findings(desk, [await checkpoint(desk, signer)], signer.public) == []


async def edit(db):
    await db.execute(table.update().where(table.c.seq == 3).values(body=sa.literal(b'{"seq":3}')))


async def edit_a_column(db):
    await db.execute(table.update().where(table.c.seq == 3).values(who="nobody"))


async def insert(db):
    row = (await db.execute(sa.select(table).where(table.c.seq == 6))).one()._mapping
    await db.execute(table.insert().values({**row, "seq": 7}))


async def delete(db):
    await db.execute(table.delete().where(table.c.seq == 3))


async def reorder(db):
    for old, new in ((3, 99), (4, 3), (99, 4)):
        await db.execute(table.update().where(table.c.seq == old).values(seq=new))


@pytest.mark.parametrize(
    ("falsify", "seq"), [(edit, 3), (edit_a_column, 3), (insert, 7), (delete, 4), (reorder, 3)]
)
async def test_the_chain_itself_betrays(desk, falsify, seq):
    await fill(desk)
    async with desk.store.change() as db:
        await falsify(db)
    assert seq in {at for at, _ in await findings(desk)}


async def test_a_tail_cut_off_is_betrayed_by_a_checkpoint_alone(desk, signer):
    await fill(desk)
    kept = await checkpoint(desk, signer)
    async with desk.store.change() as db:
        await db.execute(table.delete().where(table.c.seq > 4))
    assert await findings(desk) == []
    assert await findings(desk, [kept]) == [
        (6, "a checkpoint saw 6 entries, now the last is 4: the tail was cut")
    ]


async def test_a_chain_stamped_anew_is_betrayed_by_a_checkpoint_alone(desk, signer):
    await fill(desk)
    kept = await checkpoint(desk, signer)
    async with desk.store.change() as db:
        rows = (await db.execute(sa.select(table).where(table.c.seq != 2).order_by(table.c.seq))).all()
        rows = [
            type(
                "Row",
                (),
                {
                    "body": row.body.replace(f'"seq":{row.seq}'.encode(), f'"seq":{n}'.encode()),
                    "_mapping": {**row._mapping, "seq": n},
                },
            )
            for n, row in enumerate(rows, 1)
        ]
        for row in rows:
            row._mapping["body"] = row.body
        await restamp(db, rows)
    assert await findings(desk) == []
    await fill(desk, 3)  # and grown past the checkpoint's count
    assert await findings(desk, [kept]) == [
        (6, "a checkpoint saw another hash here: the chain was stamped anew")
    ]


async def test_a_checkpoint_of_another_hand_is_no_checkpoint(desk, signer, tmp_path):
    await fill(desk)
    kept = await checkpoint(desk, signer)
    import msgspec

    forged = msgspec.structs.replace(kept, count=4)
    assert await findings(desk, [forged]) == [(4, "a checkpoint's signature does not hold")]
    other = await checkpoint(desk, Signer(tmp_path / "other.key"))
    assert await findings(desk, [other], signer.public) == [(6, "a checkpoint is signed by another key")]


async def test_a_deed_and_its_entry_are_one_transaction(desk):
    await take(desk, LIFE[0])
    await desk.do(LIFE[0].alarm, deed("acknowledge", "已到场"), LI)
    async with desk.store.read() as db:
        [entry] = await audit.read(db)
    assert (entry["who"], entry["what"], entry["target"], entry["address"]) == (
        "李娜",
        "alarm.acknowledge",
        LIFE[0].alarm,
        "10.0.0.2",
    )
    assert (entry["before"]["state"], entry["after"]["state"]) == ("unacknowledged", "acknowledged")


async def test_purging_refuses_what_is_younger_than_180_days_and_keeps_the_chain_whole(desk, signer):
    await fill(desk, 4, at=T0 - KEPT_MS - 10 * DAY)
    kept = await checkpoint(desk, signer)
    await fill(desk, 2)
    async with desk.store.change() as db:
        with pytest.raises(Refused, match="entries are kept 180 days; 30 days is too young"):
            await audit.purge(db, T0, WANG, older_than_ms=30 * DAY)
        assert await audit.purge(db, T0, WANG, older_than_ms=KEPT_MS) == 4
    assert await findings(desk, [kept], signer.public) == []
    async with desk.store.change() as db:
        await db.execute(table.delete().where(table.c.seq == 5))
    assert await findings(desk, [kept]) != []


def test_the_key_is_for_its_owner_alone_and_stays_the_same(tmp_path):
    file = tmp_path / "audit.key"
    first = Signer(file)
    assert (file.stat().st_mode & 0o777, Signer(file).public) == (0o600, first.public)
    file.write_text("nonsense")
    with pytest.raises(Malformed, match="no ed25519 key"):
        Signer(file)


async def test_what_is_decided_in_files_leaves_an_entry_when_it_changes_and_only_then(desk, tmp_path):
    notify, toml = tmp_path / "plans.yaml", tmp_path / "center.toml"
    toml.write_text(
        'area = "a"\nbroker = { host = "h" }\ndata = { url = "http://x" }\nlinkage = { file = "plans.yaml" }\n'
    )

    async def start(content):
        notify.write_text(content, "utf-8")
        async with desk.store.change() as db:
            await filed.note(db, load_config(toml), T0)
        async with desk.store.read() as db:
            return [(one["target"], one["before"], one["after"]) for one in reversed(await audit.read(db))]

    one, other = "plans: []\n", "plans: []\nmost_per_minute: 5\n"
    first, second = ({"sha256": hashlib.sha256(text.encode()).hexdigest()} for text in (one, other))
    assert await start(one) == [("linkage.file", None, first)]
    assert len(await start(one)) == 1
    assert (await start(other))[1:] == [("linkage.file", first, second)]
    toml.write_text('area = "a"\nbroker = { host = "h" }\ndata = { url = "http://x" }\n')
    assert (await start(other))[2:] == [("linkage.file", second, None)]
