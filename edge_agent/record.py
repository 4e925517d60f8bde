"""Puts what the agent did and judged by itself into the outbox, first out of the door and never given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry import codecs
from telemetry.commands import ActionUpload
from telemetry.outbox import Priority
from telemetry.readings import AgentId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.gather import Shape
    from telemetry.clock import Clock
    from telemetry.commands import CommandResult
    from telemetry.outbox import Outbox
    from telemetry.transitions import Transition

_ANY_SEQ = 2**31


class Recorder:
    """Writes action uploads; call it inside a transaction of the outbox."""

    def __init__(self, shape: Shape, clock: Clock) -> None:
        self._agent, self._most_bytes, self._clock = AgentId(shape.agent), shape.most_bytes, clock
        self._codec = codecs.codec(shape.codec)

    def __call__(
        self, box: Outbox, results: Sequence[CommandResult] = (), transitions: Sequence[Transition] = ()
    ) -> None:
        """Queue a message, or several where one would be more than the way should carry at once.

        Raises :class:`~telemetry.errors.Unavailable` when the disk takes nothing.
        """

        def encode(seq: int) -> bytes:
            return self._codec.encode(
                ActionUpload(
                    self._agent, box.boot, seq, self._clock.now_ms(),
                    results=tuple(results), transitions=tuple(transitions),
                )
            )  # fmt: skip

        halves = len(results) // 2, len(transitions) // 2
        if any(halves) and len(encode(_ANY_SEQ)) > self._most_bytes:
            self(box, results[: halves[0]], transitions[: halves[1]])
            self(box, results[halves[0] :], transitions[halves[1] :])
        else:
            box.put(encode, priority=Priority.ALARM)
