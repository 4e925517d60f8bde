"""Who did what: an append-only chain of entries, each in the transaction of what it tells of.

::

    hash(n) = sha256( hash(n-1) ‖ canonical JSON of entry n )        hash(0) = sha256("yemai audit v1")

A chain alone betrays an edit, an insertion, a deletion and a new order, but not a tail cut off nor a chain
stamped anew from end to end.  A *checkpoint* does: count, head and time, signed with ed25519 and appended to a
file that is copied elsewhere.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import sqlalchemy as sa
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from command_center.tables import audit as table
from telemetry.errors import Malformed, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

GENESIS = hashlib.sha256(b"yemai audit v1").digest()
KEPT_MS = 180 * 86_400_000
"""Younger entries are never purged (Cybersecurity Law: six months)."""
_DAY_MS = 86_400_000


class Entry(msgspec.Struct, frozen=True):
    """One deed.  ``at_ms`` is the server's UTC time; ``before`` and ``after`` are what the deed changed."""

    seq: int
    at_ms: int
    who: str
    what: str
    target: str
    result: str
    address: str = ""
    before: Any = None
    after: Any = None

    def hashed(self, previous: bytes) -> bytes:
        """Return the entry's link, given the one before it."""
        return hashlib.sha256(previous + msgspec.json.encode(self, order="sorted")).digest()


class Act(msgspec.Struct, frozen=True):
    """Who does something, and from where."""

    who: str
    address: str = ""


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What a :class:`Signer` signs: the signature, and the public half of the key it is by, in hex."""

    key: str = ""
    signature: str = ""

    def signed_bytes(self) -> bytes:
        """Return what the signature is over; its first line names the kind, so that none passes for another."""
        raise NotImplementedError

    def holds(self) -> bool:
        """Return whether ``key`` signed it, and nobody changed it since; whose key that is has to be known."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key))
            key.verify(bytes.fromhex(self.signature), self.signed_bytes())
        except (InvalidSignature, ValueError):
            return False
        return True


_Signed = TypeVar("_Signed", bound=Signed)


class Checkpoint(Signed, frozen=True):
    """The chain as it stood once."""

    count: int
    head: str
    at_ms: int

    def signed_bytes(self) -> bytes:
        """Return what the signature is over."""
        return f"yemai audit checkpoint v1\n{self.count}\n{self.head}\n{self.at_ms}\n".encode()


class Finding(msgspec.Struct, frozen=True):
    """What is wrong, and at which entry."""

    seq: int
    problem: str


async def write(
    db: AsyncConnection,
    now_ms: int,
    act: Act,
    what: str,
    target: str,
    *,
    result: str = "done",
    before: object = None,
    after: object = None,
) -> None:
    """Append an entry in the transaction of the deed itself; the caller holds the desk's writing lock."""
    last = (
        await db.execute(sa.select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1))
    ).first()
    seq, previous = (last.seq, last.hash) if last else (0, GENESIS)
    entry = Entry(seq + 1, now_ms, act.who, what, target, result, act.address, before, after)
    body = msgspec.json.encode(entry, order="sorted")
    await db.execute(
        table.insert().values(
            seq=entry.seq,
            at_ms=now_ms,
            who=act.who,
            what=what,
            target=target,
            body=body,
            hash=hashlib.sha256(previous + body).digest(),
        )
    )


async def read(
    db: AsyncConnection, *, before_seq: int | None = None, limit: int = 200
) -> list[dict[str, Any]]:
    """Return entries, the newest first."""
    query = sa.select(table.c.body, table.c.hash).order_by(table.c.seq.desc()).limit(limit)
    if before_seq is not None:
        query = query.where(table.c.seq < before_seq)
    return [{**msgspec.json.decode(row.body), "hash": row.hash.hex()} for row in await db.execute(query)]


async def head(db: AsyncConnection, now_ms: int) -> Checkpoint:
    """Return an unsigned checkpoint of the chain as it stands."""
    last = (
        await db.execute(sa.select(table.c.seq, table.c.hash).order_by(table.c.seq.desc()).limit(1))
    ).first()
    return Checkpoint(last.seq, last.hash.hex(), now_ms) if last else Checkpoint(0, GENESIS.hex(), now_ms)


async def purge(db: AsyncConnection, now_ms: int, act: Act, *, older_than_ms: int) -> int:
    """Delete entries older than ``older_than_ms`` and say so in the chain; return how many.

    Raises :class:`Refused` for entries younger than 180 days.  The last entry purged stays as its hash, so that
    the chain still begins somewhere.
    """
    if older_than_ms < KEPT_MS:
        raise Refused(
            f"entries are kept {KEPT_MS // _DAY_MS} days; {older_than_ms // _DAY_MS} days is too young"
        )
    old = table.c.at_ms < now_ms - older_than_ms
    last = (
        await db.execute(
            sa.select(table.c.seq, table.c.hash).where(old).order_by(table.c.seq.desc()).limit(1)
        )
    ).first()
    if last is None:
        return 0
    await write(db, now_ms, act, "audit.purge", "audit", after={"up_to": last.seq, "hash": last.hash.hex()})
    gone = await db.execute(table.delete().where(table.c.seq <= last.seq))
    return int(gone.rowcount)


async def verify(
    db: AsyncConnection, checkpoints: Sequence[Checkpoint] = (), key: str | None = None
) -> list[Finding]:
    """Walk the whole chain, against checkpoints kept elsewhere; return what is wrong.

    ``key`` is the public half that every checkpoint must be signed by, in hex.
    """
    rows = (await db.execute(sa.select(table).order_by(table.c.seq))).all()
    return check(rows, checkpoints, key)


def check(rows: Sequence[Any], checkpoints: Iterable[Checkpoint], key: str | None = None) -> list[Finding]:
    """Return what is wrong with a chain of rows ``(seq, at_ms, who, what, target, body, hash)``."""
    findings: list[Finding] = []
    previous, seq = _beginning(rows)
    hashes = {seq: previous}
    for row in rows:
        if row.seq != seq + 1:
            findings.append(Finding(row.seq, f"follows {seq}: {row.seq - seq - 1} entries are missing"))
        if hashlib.sha256(previous + row.body).digest() != row.hash:
            findings.append(
                Finding(row.seq, "its hash does not follow from its words and the entry before it")
            )
        try:
            told = msgspec.json.decode(row.body, type=Entry)
        except msgspec.DecodeError:
            findings.append(Finding(row.seq, "its words cannot be read"))
        else:
            if (told.seq, told.at_ms, told.who, told.what, told.target) != (
                row.seq,
                row.at_ms,
                row.who,
                row.what,
                row.target,
            ):
                findings.append(Finding(row.seq, "its columns differ from its words"))
        previous, seq = row.hash, row.seq
        hashes[seq] = previous
    against = ((checkpoint.count, _against(checkpoint, hashes, seq, key)) for checkpoint in checkpoints)
    return findings + [Finding(count, problem) for count, problem in against if problem]


def _beginning(rows: Sequence[Any]) -> tuple[bytes, int]:
    """Where the chain begins: at nothing, or where a purge that the chain itself tells of left it."""
    if not rows or rows[0].seq == 1:
        return GENESIS, 0
    for row in rows:
        if row.what == "audit.purge":
            after = msgspec.json.decode(row.body, type=Entry).after
            if after["up_to"] == rows[0].seq - 1:
                return bytes.fromhex(after["hash"]), after["up_to"]
    return GENESIS, 0


def _against(checkpoint: Checkpoint, hashes: dict[int, bytes], last: int, key: str | None) -> str:
    if key is not None and checkpoint.key != key:
        return "a checkpoint is signed by another key"
    if not checkpoint.holds():
        return "a checkpoint's signature does not hold"
    if checkpoint.count > last:
        return f"a checkpoint saw {checkpoint.count} entries, now the last is {last}: the tail was cut"
    if checkpoint.count in hashes and hashes[checkpoint.count].hex() != checkpoint.head:
        return "a checkpoint saw another hash here: the chain was stamped anew"
    return ""


class Signer:
    """Signs with a key of its own file, made at first use with mode 0600."""

    def __init__(self, key_file: Path) -> None:
        if key_file.exists():
            try:
                self._key = Ed25519PrivateKey.from_private_bytes(
                    bytes.fromhex(key_file.read_text("ascii").strip())
                )
            except ValueError:
                raise Malformed(f"{key_file}: no ed25519 key of 64 hexadecimal digits") from None
        else:
            self._key = Ed25519PrivateKey.generate()
            raw = self._key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
            key_file.touch(mode=0o600)
            key_file.write_text(raw.hex() + "\n", "ascii")

    @property
    def public(self) -> str:
        """The public half, in hex."""
        return self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, what: _Signed) -> _Signed:
        """Return it signed."""
        named = msgspec.structs.replace(what, key=self.public)
        return msgspec.structs.replace(named, signature=self._key.sign(named.signed_bytes()).hex())


def read_checkpoints(file: Path) -> list[Checkpoint]:
    """Read a file of checkpoints, one JSON a line; raise :class:`Malformed`."""
    found = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        try:
            found.append(msgspec.json.decode(line, type=Checkpoint))
        except msgspec.DecodeError as error:
            raise Malformed(f"{file}:{number}: no checkpoint: {error}") from None
    return found


def append(file: Path, checkpoint: Checkpoint) -> None:
    """Append a signed checkpoint to a file, which may lie on another machine's share."""
    with file.open("ab") as out:
        out.write(msgspec.json.encode(checkpoint) + b"\n")
