"""aiomqtt's client, for tasks that must end when they are cancelled.

aiomqtt waits by ``asyncio.wait_for``, which before CPython 3.12 loses a cancellation that comes together with the
answer: the task goes on, and whoever waits for its end waits for ever.  ``asyncio.timeout`` does not.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, TypeVar

import aiomqtt

if TYPE_CHECKING:
    from collections.abc import Awaitable

Answer = TypeVar("Answer")


class Client(aiomqtt.Client):
    """See :class:`aiomqtt.Client`."""

    async def _wait_for(self, fut: Awaitable[Answer], timeout: float | None) -> Answer:  # noqa: ASYNC109 - aiomqtt's name
        seconds = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                return await fut
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None
