"""What a notification channel is: it sends one message to one address and reads the vendor's own receipt.

A channel is one file in ``command_center/channels/`` with ``Config``, ``LIMITS`` and ``Channel``.  It does not retry,
queue or choose: the teller does.  HTTP 200 is not delivery: only the vendor's code in the body says what became of it.
"""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import aiohttp
import msgspec
import structlog

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from telemetry.config import Secret

Outcome = Literal["accepted", "delivered", "read", "failed_temp", "failed_perm"]
TIMEOUT_S = 4.0
log = structlog.get_logger()


class Message(msgspec.Struct, frozen=True):
    """What a person is to be told.  ``id`` is the same at every attempt; ``facts`` fill an SMS template."""

    id: str
    title: str
    text: str
    urgent: bool
    facts: dict[str, str] = {}
    drill: bool = False
    lane: int = 0
    """Which of the channel's robots speaks, the first being 0."""
    link: str = ""
    """A last line with an address to answer at, or to look; it is a secret and never cut."""


class Receipt(msgspec.Struct, frozen=True):
    """What the vendor said.  ``code`` and ``reason`` are the vendor's, without anything secret."""

    outcome: Outcome
    code: str = ""
    reason: str = ""
    provider_id: str = ""
    digest: str = ""
    """The first 16 hex digits of the raw answer's SHA-256."""
    wait_s: float = 0.0
    """How long the vendor will hear nothing more from these credentials."""


class Report(msgspec.Struct, frozen=True):
    """What a vendor tells later of a message it accepted; ``pressed`` is a key that the person pressed."""

    provider_id: str
    outcome: Outcome
    code: str = ""
    pressed: str = ""


class Limits(msgspec.Struct, frozen=True):
    """How much may be sent: ``(messages, seconds)`` for one set of credentials, and for one address; below the vendor's own."""

    credentials: tuple[tuple[int, float], ...] = ()
    address: tuple[tuple[int, float], ...] = ()
    most_bytes: int = 0
    avoid_s: float = 0.0
    """For so long before and after each full and half hour only what is urgent is sent."""


def lanes_of(config: object) -> int:
    """Return how many robots a channel has: its own, and those of its ``pool``."""
    return 1 + len(getattr(config, "pool", ()))


def check_distinct(keys: Iterable[Secret]) -> None:
    """Raise ValueError when two robots of a pool are the same one, which would speak twice as fast as its vendor lets it."""
    known = [key.reveal() for key in keys if key.reveal()]
    if len(set(known)) < len(known):
        raise ValueError("pool: the same robot is there twice")


class Channel(Protocol):
    """One set of credentials of one vendor."""

    async def send(self, message: Message, address: str) -> Receipt:
        """Send; raise :class:`Unavailable` when no answer came."""


class Answer(msgspec.Struct, frozen=True):
    """A vendor's HTTP answer, as bytes and as the JSON object it should be."""

    status: int
    raw: bytes
    body: dict[str, Any] | None

    @property
    def digest(self) -> str:
        """See :attr:`Receipt.digest`."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def receipt(self, outcome: Outcome, code: object = "", reason: object = "", **more: Any) -> Receipt:
        """Return a receipt of this answer; the vendor's words are kept short."""
        return Receipt(outcome, str(code), str(reason)[:200], digest=self.digest, **more)

    def unreadable(self) -> Receipt:
        """Return the receipt of an answer that says nothing we know: it may have failed, so try again."""
        return self.receipt("failed_temp", self.status, "the answer is not what this vendor says")


def answer_of(status: int, raw: bytes) -> Answer:
    """Read an answer's JSON object, if it is one."""
    try:
        body = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        body = None
    return Answer(status, raw, body if isinstance(body, dict) else None)


async def ask(http: aiohttp.ClientSession, method: str, url: str, **more: Any) -> Answer:
    """Ask a vendor; raise :class:`Unavailable` without the address, which may hold a secret."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with http.request(method, url, allow_redirects=False, timeout=timeout, **more) as answer:
            return answer_of(answer.status, await answer.content.read(65_536))
    except TimeoutError:
        raise Unavailable(f"no answer in {TIMEOUT_S:.0f} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"no connection ({type(error).__name__})") from None


def broken(channel: str, error: Exception) -> Receipt:
    """Return the receipt of a channel that broke, and say where; its words may hold a secret and are not told."""
    kind, at = type(error).__name__, traceback.extract_tb(error.__traceback__)[-1]
    log.error("channel_broken", channel=channel, problem=kind, at=f"{Path(at.filename).name}:{at.lineno}")
    return Receipt("failed_temp", "broken", f"the channel broke: {kind}")


def written(message: Message, most_bytes: int, *, title: bool = True) -> str:
    """Return the text of a message in at most ``most_bytes`` of UTF-8, its link whole at the end."""
    text = f"{message.title}\n{message.text}" if title else message.text
    if not message.link:
        return cut(text, most_bytes)
    last = f"\n{message.link}"
    return cut(text, max(1, most_bytes - len(last.encode())) if most_bytes else 0) + last


def cut(text: str, most_bytes: int) -> str:
    """Return at most ``most_bytes`` of UTF-8 without splitting a character, with an ellipsis where something is missing.

    >>> cut("灯杆断电", 12), cut("灯杆断电", 11), cut("灯杆断电", 2)
    ('灯杆断电', '灯杆…', '')
    """
    raw = text.encode()
    if not most_bytes or len(raw) <= most_bytes:
        return text
    room = most_bytes - len("…".encode())
    return raw[:room].decode(errors="ignore") + "…" if room >= 0 else ""
