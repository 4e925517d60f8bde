"""A running agent answers about itself on a unix socket: a word, with what it needs behind it, asks; one line of JSON answers."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

_LONGEST_NAME = 100  # bytes; Linux takes 107
_MOST_LINE = 4 * 1024 * 1024
_PATIENCE_S = 5.0
_LONGEST_S = 60.0  # that an answer may take here; who asks decides how long to wait


class Busy(Unavailable):
    """An agent is there, and gives no answer: whether it does what it was asked for is not known."""


class StatusConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[status]`` table."""

    socket: Path | None = None  # beside the outbox where it is not named


def default_socket(outbox: Path) -> Path:
    """Return the socket of the agent with this outbox: beside it, or, where that name is too long, in /tmp."""
    path = outbox.with_name(outbox.name + ".sock")
    if len(str(path).encode()) <= _LONGEST_NAME:
        return path
    name = hashlib.blake2b(str(outbox).encode(), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"yemai-{name}.sock"


@contextlib.asynccontextmanager
async def answering(
    path: Path, answers: Mapping[str, Callable[..., Awaitable[bytes]]]
) -> AsyncIterator[None]:
    """Answer while the block lasts; a socket left by an agent that was killed is taken over.

    Raises :class:`Refused` when another agent answers there, :class:`Unavailable` when there can be no socket.
    """
    if path.exists():
        if await _is_answered(path):
            raise Refused(f"{path}: another agent with the same outbox is running; stop it first")
        path.unlink(missing_ok=True)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                word, *more = (await reader.readline()).decode(errors="replace").split() or [""]
            found = answers.get(word)
            async with asyncio.timeout(_LONGEST_S):
                writer.write((b"{}" if found is None else await found(*more)) + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError, Unavailable):
            pass  # who asked has gone away, or sees that nobody answers
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        server = await asyncio.start_unix_server(answer, path)
        path.chmod(0o660)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from None
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        path.unlink(missing_ok=True)


async def ask(path: Path, word: str, patience_s: float = _PATIENCE_S) -> bytes:
    """Return the answer of the agent that listens on ``path``.

    Raises :class:`Unavailable` when there is none, and :class:`Busy` when it gives no answer in ``patience_s``.
    """
    try:
        async with asyncio.timeout(_PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(path, limit=_MOST_LINE)
    except (OSError, TimeoutError) as error:
        why = getattr(error, "strerror", None) or "no answer in time"
        raise Unavailable(
            f"no agent answers on {path}: {why}; is it running, and may you read the socket?"
        ) from None
    answer = b""
    try:
        writer.write(word.encode() + b"\n")
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(patience_s):
                answer = await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if not answer:
        raise Busy(f"{path}: an agent runs here and gives no answer; its log tells why")
    return answer


async def _is_answered(path: Path) -> bool:
    try:
        await ask(path, "ping")
    except Busy:
        return True
    except Unavailable:
        return False
    return True
