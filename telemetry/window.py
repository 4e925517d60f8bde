"""Which messages of an outbox to send now: a bounded number on their way, each sent again when late.

Pure: the caller says what time it is and does the sending.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from telemetry.outbox import Outbox, Queued


class Window:
    """The messages of one outbox that are sent and not yet acknowledged.

    :param size: most messages on their way at once; this is the back-pressure.
    :param resend_after_s: seconds without an acknowledgement until a message is sent once more.
    """

    def __init__(self, size: int = 64, resend_after_s: float = 10.0) -> None:
        self.size, self.resend_after_s = size, resend_after_s
        self._sent: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def link_lost(self) -> None:
        """Forget what was on its way: all of it is to be sent again."""
        self._sent.clear()

    def due(self, outbox: Outbox, now: float) -> list[Queued]:
        """Return what to send at monotonic time ``now`` (seconds) and regard it as sent.

        A message overdue for its acknowledgement frees its place and comes again in its own order.
        """
        for seq in [seq for seq, at in self._sent.items() if now - at >= self.resend_after_s]:
            del self._sent[seq]
        room = self.size - len(self._sent)
        messages = outbox.waiting(room, besides=self._sent.keys()) if room > 0 else []
        self._sent.update((message.seq, now) for message in messages)
        return messages

    def acknowledged(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Free the places of what the consumer has committed."""
        for first, last in ranges:
            for seq in [seq for seq in self._sent if first <= seq <= last]:
                del self._sent[seq]

    def next_due_s(self, now: float) -> float:
        """Seconds until the oldest message on its way is overdue; ``resend_after_s`` when there is none."""
        if not self._sent:
            return self.resend_after_s
        return max(0.0, min(self._sent.values()) + self.resend_after_s - now)
