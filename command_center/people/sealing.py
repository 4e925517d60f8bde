"""The secrets of one-time codes as the database holds them: sealed under a key that lies in a file of its own.

AES-256-GCM (NIST SP 800-38D), ``1:`` and base64url of nonce, text and tag; whose it is is sealed in with it, so that a row
copied to somebody else does not open.  Whoever has the database, or a copy of it, alone signs in as nobody.
"""

from __future__ import annotations

import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa
import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from command_center.people import users
from command_center.tables import links as links_table
from telemetry.errors import ConfigError, Malformed

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.store import Store

_MARK = "1:"
_KEY_BYTES, _NONCE_BYTES = 32, 12
log = structlog.get_logger()


class Seal:
    """Seals and opens under one key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def close(self, secret: str, whose: str) -> str:
        """Return a secret sealed; '' stays ''."""
        if not secret:
            return ""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _written(nonce + self._cipher.encrypt(nonce, secret.encode(), whose.encode()))

    def open(self, sealed: str, whose: str) -> str:
        """Return the secret; raise :class:`Malformed` when it was sealed by another key, for another, or was changed."""
        if not sealed:
            return ""
        try:
            raw = urlsafe_b64decode(sealed.removeprefix(_MARK))
            if _written(raw) != sealed:
                raise ValueError
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], whose.encode()).decode()
        except (InvalidTag, ValueError):
            raise Malformed(f"codes: the secret of '{whose}' does not open with this key") from None


def _written(raw: bytes) -> str:
    return _MARK + urlsafe_b64encode(raw).decode()


def is_sealed(kept: str) -> bool:
    """Return whether what the database holds is sealed; base32 has no ':'."""
    return kept.startswith(_MARK)


def read(file: Path) -> Seal:
    """Return the seal of a key's file; raise :class:`ConfigError` where others may read it, or there is no key in it."""
    try:
        mode = file.stat().st_mode & 0o777
        text = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            file, "$", f"cannot be read: {getattr(error, 'strerror', None) or 'not ASCII'}"
        ) from None
    if mode & 0o077:
        raise ConfigError(
            file, "$", f"has mode {mode:04o}, others may read it", hint=f"chmod 600 '{file}'; it seals the secrets of one-time codes"
        )  # fmt: skip
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise ConfigError(
            file, "$", "holds no key of 64 hexadecimal digits", hint="bring back the right file"
        )
    return Seal(key)


def make(file: Path) -> Seal:
    """Make a key's file, whole or not at all, for its owner alone; raise :class:`ConfigError` where that cannot be."""
    key, making = secrets.token_bytes(_KEY_BYTES), file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(key.hex() + "\n")
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(making, file)  # fails where another was first
        finally:
            making.unlink()
    except FileExistsError:
        return read(file)
    except OSError as error:
        raise ConfigError(file, "$", f"cannot be made: {error.strerror}") from None
    return Seal(key)


async def ready(store: Store, file: Path) -> Seal:
    """Return the seal that the database's secrets open with; made when nothing is sealed, and what lies bare sealed.

    Raises :class:`ConfigError` for a key that is lost, readable by others, or another one.
    """
    async with store.read() as db:
        kept = await _kept(db)
    sealed = [one for one in kept if is_sealed(one.secret)]
    if not file.exists() and sealed:
        raise ConfigError(
            file, "$", f"there is no such file, and {len(sealed)} secrets of one-time codes are sealed with it", hint=_LOST
        )  # fmt: skip
    seal = read(file) if file.exists() else make(file)
    for one in sealed:
        try:
            seal.open(one.secret, one.whose)
        except Malformed:
            raise ConfigError(
                file, "$", f"is not the key that the secret of '{one.whose}' was sealed with", hint=_LOST
            ) from None
    if len(kept) > len(sealed):
        async with store.change() as db:
            await _seal_all(db, seal)
        log.info("secrets_sealed", secrets=len(kept) - len(sealed), key=str(file))
    return seal


_LOST = "bring the right one back, or let everybody enrol anew: yemai center forget-codes"


class _Kept(msgspec.Struct, frozen=True):
    """A secret in the database: a person's by his login, a link's by its hash."""

    whose: str
    secret: str
    of_link: bool = False


async def _kept(db: AsyncConnection) -> list[_Kept]:
    people = [_Kept(user.login, user.totp) for user in await users.everyone(db) if user.totp]
    rows = await db.execute(sa.select(links_table.c.key, links_table.c.totp).where(links_table.c.totp != ""))
    return people + [_Kept(key, totp, of_link=True) for key, totp in rows]


async def _seal_all(db: AsyncConnection, seal: Seal) -> None:
    if db.dialect.name == "sqlite":
        await db.exec_driver_sql("PRAGMA secure_delete=ON")  # else the bare ones stay in free pages
    for one in await _kept(db):
        if is_sealed(one.secret):
            continue
        sealed = seal.close(one.secret, one.whose)
        if one.of_link:
            mine = links_table.c.key == one.whose
            await db.execute(links_table.update().where(mine).values(totp=sealed))
        elif (user := await users.find(db, one.whose)) is not None:
            await users.save(db, msgspec.structs.replace(user, totp=sealed))
