"""Which messages of an outbox to send now: a bounded number on their way, and in their order.

Order matters: what is newer must not be judged before what is older.  A broker that was restarted takes
messages before their consumer is back, and loses them; so the window opens only when an acknowledgement has
shown that the whole way is open.  Until then, and again when none has come for a while, one message at a time
feels its way::

    probing ──acknowledged──▶ open
       ▲                        │
       └── link lost, silence ──┘

Pure: the caller says what time it is and does the sending.  :meth:`Window.due` reads a disk, so it runs on a thread,
while what the link tells arrives on the event loop's: that is taken note of there, and takes effect with the next
:meth:`Window.due`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from telemetry.outbox import Outbox, Queued

    Ranges = list[tuple[int, int]]


class Window:
    """The messages of one outbox that are sent and not yet acknowledged.

    :param size: most messages on their way at once; this is the back-pressure.
    :param patience_s: seconds without an acknowledgement of anything on its way until all of it counts as lost: a
        consumer that is slow, and commits one after the other, has not lost the rest.
    """

    def __init__(self, size: int = 64, patience_s: float = 2.0) -> None:
        self.size, self.patience_s = size, patience_s
        self._sent: dict[int, float] = {}  # in the order of sending
        self._moved = 0.0  # monotonic time at which something on its way was last known to be acknowledged
        self._open = False
        self._heard: deque[Ranges | None] = deque()  # what was acknowledged; None: the link was lost

    def __len__(self) -> int:
        return len(self._sent)

    def link_lost(self) -> None:
        """Forget what was on its way: all of it is to be sent again, one at a time at first.

        A loss right after a loss says nothing new: while the link is away and cannot be made, nothing grows here.
        """
        try:
            known = self._heard[-1] is None  # :meth:`due` may take it at this moment: it forgets after us
        except IndexError:
            known = False
        if not known:
            self._heard.append(None)

    def acknowledged(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Free the places of what the consumer has committed.

        What was sent before it and is not committed was lost on the way: it is to be sent again.
        """
        self._heard.append(list(ranges))

    def due(self, outbox: Outbox, now: float) -> list[Queued]:
        """Return what to send at monotonic time ``now`` (seconds) and regard it as sent."""
        while self._heard:
            ranges = self._heard.popleft()
            on_way = len(self._sent)
            self._forget() if ranges is None else self._free(ranges)
            if len(self._sent) < on_way:
                self._moved = now
        if self._sent and not self.next_due_s(now):
            self._forget()
        room = (self.size if self._open else 1) - len(self._sent)
        messages = []
        if room > 0:
            messages = outbox.hand_out(self.choose(outbox, room, now), least=0 if self._sent else 1)
        self._sent.update((message.seq, now) for message in messages)
        return messages

    def choose(self, outbox: Outbox, room: int, now: float) -> list[Queued]:
        """Return at most ``room`` messages that are not on their way, in the order they are to be sent."""
        del now
        return outbox.waiting(room, besides=self._sent.keys())

    def next_due_s(self, now: float) -> float:
        """Seconds until what is on its way counts as lost; ``patience_s`` when nothing is."""
        if not self._sent:
            return self.patience_s
        quiet_since = max(self._moved, next(iter(self._sent.values())))
        return max(0.0, quiet_since + self.patience_s - now)

    def _forget(self) -> None:
        self._sent.clear()
        self._open = False

    def _free(self, ranges: Ranges) -> None:
        for first, last in ranges:
            self._open = True
            done = [seq for seq in self._sent if first <= seq <= last]
            if done:
                order = list(self._sent)
                for seq in order[: order.index(done[-1]) + 1]:
                    del self._sent[seq]
