"""One database, SQLite or PostgreSQL: one writer at a time, commits that are on disk, errors that say wait."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import create_async_engine

from command_center.schema import prepare
from command_center.tables import quarantine
from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from types import TracebackType

    from sqlalchemy.ext.asyncio import AsyncConnection

_T = TypeVar("_T")
log = structlog.get_logger()
OURS = (IntegrityError, ProgrammingError, DataError)
"""Errors of a database that is there, about what it was given."""
_WRITER = 0x59656D6169  # one writer for all processes on one PostgreSQL: the audit chain has one end
_POOL_WAIT_S = 5
_TURN_S, _TURN_AWAY_S = 60.0, 3.0
"""A change that cannot begin for so long, behind others that wait for the database, is told so."""
_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000}
_TOLD = "yemai.told"


class Store:
    """``async with Store(url) as store``; ``store.change()`` is a transaction of the only writer."""

    def __init__(self, url: str) -> None:
        self._writing = asyncio.Lock()
        self._is_sqlite = url.startswith("sqlite")
        more: dict[str, Any] = (
            {} if self._is_sqlite else {"pool_timeout": _POOL_WAIT_S, "connect_args": _PATIENCE}
        )
        self.problem = ""
        """What keeps it from taking changes; empty while it takes them."""
        self._engine = create_async_engine(url, pool_pre_ping=not self._is_sqlite, **more)
        if self._is_sqlite:
            sa.event.listen(self._engine.sync_engine, "connect", _make_durable)

    async def __aenter__(self) -> Self:
        try:
            async with self._mapped(), self._engine.begin() as db:
                found = await db.run_sync(prepare)
        except Unavailable as error:
            await self._engine.dispose()
            raise Unavailable(f"the desk's database does not open: {error}") from None
        except BaseException:
            await self._engine.dispose()
            raise
        if found.is_old:
            log.info("schema_migrated", part=found.part, version=found.newest, was=found.version)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def change(self) -> AsyncIterator[AsyncConnection]:
        """Commit what the block does, or nothing; raise :class:`Unavailable` when the database is away."""
        async with self._turn(), self._mapped():
            async with self._engine.begin() as db:
                told = db.info[_TOLD] = {}  # anew: what was never committed is never told
                if not self._is_sqlite:
                    await db.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITER)))
                yield db
            self.problem = ""
        for tell, what in told.items():
            try:
                tell(what)
            except Exception:  # it is committed all the same
                log.exception("commit_not_told", what=sorted(what))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Read; raise :class:`Unavailable` when the database is away."""
        async with self._mapped(), self._engine.connect() as db:
            yield db

    async def prove(self) -> None:
        """Write a row and take it back; raise :class:`Unavailable` when that cannot be."""
        async with self.change() as db:
            await db.execute(quarantine.insert().values(at_ms=0, reason="proof", payload=b""))
            await db.execute(quarantine.delete().where(quarantine.c.reason == "proof"))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(_TURN_AWAY_S if self.problem else _TURN_S):
                await self._writing.acquire()
        except TimeoutError:
            raise Unavailable(f"desk: {self.problem or 'it is busy'}") from None
        try:
            yield
        finally:
            self._writing.release()

    @asynccontextmanager
    async def _mapped(self) -> AsyncIterator[None]:
        try:
            yield
        except OURS:
            raise  # ours: what it does not take today it will not take tomorrow
        except (DBAPIError, PoolTimeout, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
            self.problem = reason
            raise Unavailable(f"desk: {reason}") from None


def tell_after(db: AsyncConnection, tell: Callable[[set[str]], object], what: Iterable[str]) -> None:
    """Have ``tell`` called, once with all that it is to tell, when the change that ``db`` belongs to is committed."""
    db.info[_TOLD].setdefault(tell, set()).update(what)


async def apart(
    db: AsyncConnection,
    items: Sequence[_T],
    work: Callable[[Sequence[_T]], Awaitable[object]],
    broke: Callable[[_T, Exception], object],
) -> None:
    """Do some work in a change, on all items at once; where it breaks, on the halves, until ``broke`` is told of those it breaks on.

    What it did to an item that it broke on is taken back.  A database that is away breaks the whole change.
    """
    try:
        async with db.begin_nested():
            await work(items)
    except Exception as error:
        if isinstance(error, DBAPIError) and not isinstance(error, OURS):
            raise  # all of it comes again
        if len(items) <= 1:
            for one in items:
                broke(one, error)
            return
        half = len(items) // 2
        await apart(db, items[:half], work, broke)
        await apart(db, items[half:], work, broke)


def _make_durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA busy_timeout=2000")
    cursor.close()
