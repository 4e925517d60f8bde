"""What systemd wants to hear: that the agent is up, what it does, and, again and again, that it lives.

The protocol is one datagram of ``NAME=value`` lines to the socket named by ``NOTIFY_SOCKET`` (sd_notify(3));
without that variable nothing is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from telemetry.clock import Clock

_QUIET_S = 3600.0  # between two words where no watchdog is set


def notify(text: str) -> None:
    """Send one notification; a service manager that does not listen is no reason to stop."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name:
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(text.encode(), address)


def interval_s() -> float | None:
    """Return how often the watchdog wants to hear of us: half of ``WATCHDOG_USEC``; None where there is none."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    return int(usec) / 2e6 if usec.isdigit() and int(usec) else None


async def watch(clock: Clock, lives: Callable[[], Awaitable[str]]) -> None:
    """Tell the watchdog for ever what ``lives`` returns, as long as it returns in time.

    ``lives`` goes through the parts that may hang: a full disk raises :class:`Unavailable`, which is trouble but
    not death.
    """
    every = interval_s()
    while True:
        try:
            async with asyncio.timeout(every or _QUIET_S):
                text = await lives()
        except Unavailable as error:
            text = str(error)
        except TimeoutError:
            continue  # say nothing: the service manager will draw the conclusion
        notify(f"WATCHDOG=1\nSTATUS={text}")
        await clock.sleep(every or _QUIET_S)
