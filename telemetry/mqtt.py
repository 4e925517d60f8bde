"""What both MQTT clients leave to their users: a task that ends when it is cancelled, and a broker that says no.

aiomqtt waits by ``asyncio.wait_for``, which before CPython 3.12 loses a cancellation that comes together with the
answer: the task goes on, and whoever waits for its end waits for ever.  ``asyncio.timeout`` does not.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, TypeVar

import aiomqtt

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

Answer = TypeVar("Answer")
_REFUSED = 0x80
"""Reason codes of SUBACK from here on say no (MQTT 3.1.1, 3.9.3; MQTT 5, 3.9.3)."""


def refusals(wanted: Sequence[str], answers: Sequence[Any]) -> dict[str, str]:
    """Return which of the ``wanted`` topics the broker does not let us hear, by its answers, and what to say of each.

    An answer is a number, or has it as ``value``.

    >>> refusals(["a/+/up", "a/+/status"], [0x87, 1])
    {'a/+/up': "the broker refuses the subscription to 'a/+/up' (0x87); look at its rights"}
    """
    codes = (answer if isinstance(answer, int) else answer.value for answer in answers)
    return {
        topic: f"the broker refuses the subscription to '{topic}' (0x{code:02x}); look at its rights"
        for topic, code in zip(wanted, codes, strict=False)
        if code >= _REFUSED
    }


class Client(aiomqtt.Client):
    """See :class:`aiomqtt.Client`."""

    async def _wait_for(self, fut: Awaitable[Answer], timeout: float | None) -> Answer:  # noqa: ASYNC109 - aiomqtt's name
        seconds = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                return await fut
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None
