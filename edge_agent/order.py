"""What goes first when not everything can: alarms, then what is new, and history in its share of the way.

What has waited for more than a minute is history: it pages nobody any more, so what happens now is sent before
it.  A shorter interruption is caught up with in order, because rules judge what comes in order.

History is paced by the way itself: a batch is sent, its acknowledgements are awaited, and then the way is left to
others for as long as the share says.  With a share of a half, history that took two seconds rests for two.  What was
lost on the way ends its batch as well: it is sent again when it may be, and nobody waits for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.outbox import Priority, Queued
from telemetry.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from telemetry.clock import Clock
    from telemetry.outbox import Outbox
    from telemetry.window import Ranges

LIVE_MS = 60_000
_MORE = 8  # messages that are looked at beyond those that there is room for
_MOST_LOOKED_AT = 200  # messages that may not be sent; those behind so many wait with them
_MOST_ANSWERED = 1000  # ranges that the disk has not let go; those before them cost a sending again
_NOTHING = Queued(0, Priority.HISTORY, 0, 0, b"")
_SMOOTH = 0.3  # weight of the newest batch in the measured rate


class LiveFirst(Window):
    """A window of ``size`` messages that gives history ``share`` (0 to 1) of the way's time.

    :param admit: whether a message may be sent now, given the newest seq that is history, and the messages that go
        before it at the same time; what may not waits.
    :param may_pass: whether the history behind this, which may not be sent now, may go before it.
    :param most_bytes: larger payloads wait for another way.
    """

    def __init__(
        self,
        clock: Clock,
        size: int,
        patience_s: float,
        *,
        share: float,
        most_bytes: int,
        admit: Callable[[Queued, int, Sequence[Queued]], bool],
        may_pass: Callable[[Queued], bool] = lambda _: True,
    ) -> None:
        super().__init__(size, patience_s)
        self._clock, self._share, self._most_bytes = clock, share, most_bytes
        self._admit, self._may_pass = admit, may_pass
        self._batch: set[int] = set()  # history on its way
        self._planned: set[int] = set()  # history that was chosen last
        self._batch_bytes, self._batch_at, self._rest_until = 0, 0.0, 0.0
        self._freed_at = 0.0
        self.answered: tuple[tuple[int, int], ...] = ()
        """Seqs from first to last that the cloud has, and the disk not let go yet: they are not sent again."""
        self._answered: set[int] = set()  # of the seqs in ``answered``, those that were looked at
        self.until = 0  # the newest message that is history
        self.history_bytes_per_s = 0.0
        """Measured, pauses included; 0 while there was none."""

    def due(self, outbox: Outbox, now: float) -> list[Queued]:
        """See the base class."""
        self._planned = set()
        messages = super().due(outbox, now)
        if self._planned:
            batch = {m.seq: len(m.payload) for m in messages if m.seq in self._planned}
            self._batch, self._batch_bytes, self._batch_at = set(batch), sum(batch.values()), now
        return messages

    def choose(self, outbox: Outbox, room: int, now: float) -> list[Queued]:
        """See the base class."""
        self.until = outbox.newest_before(self._clock.now_ms() - LIVE_MS)
        besides = set(self._sent)
        chosen = self._admitted(
            lambda some, seen: outbox.waiting(
                some, besides=besides | seen | self._answered, after=self.until, most_bytes=self._most_bytes
            ),
            room,
        )
        besides.update(message.seq for message in chosen)
        room = min(room - len(chosen), max(1, self.size // 2))
        if (
            room > 0
            and self.until
            and not self._batch
            and now >= self._rest_until
            and self._admit(_NOTHING, self.until, chosen)
        ):
            batch = self._admitted(
                lambda some, seen: outbox.history(
                    some, self.until, besides=besides | seen | self._answered, most_bytes=self._most_bytes
                ),
                room,
                self._may_pass,
                chosen,
            )
            self._planned = {message.seq for message in batch}
            chosen += batch
        return chosen

    def _admitted(
        self,
        more: Callable[[int, set[int]], list[Queued]],
        room: int,
        may_pass: Callable[[Queued], bool] = lambda _: True,
        ahead: Sequence[Queued] = (),
    ) -> list[Queued]:
        """Return up to ``room`` of what there is that may be sent now, and not behind what they may not pass."""
        chosen: list[Queued] = []
        seen: set[int] = set()
        while len(chosen) < room and len(seen) < _MOST_LOOKED_AT and (found := more(room + _MORE, seen)):
            for message in found:
                if any(first <= message.seq <= last for first, last in self.answered):
                    self._answered.add(message.seq)
                    continue
                seen.add(message.seq)
                if self._admit(message, self.until, (*ahead, *chosen)):
                    chosen.append(message)
                elif not may_pass(message):
                    return chosen
                if len(chosen) == room:
                    break
        return chosen

    def acknowledged(self, ranges: Iterable[tuple[int, int]]) -> None:
        """See the base class."""
        self._freed_at = self._clock.monotonic()
        ranges = list(ranges)
        self.answered = (*self.answered, *ranges)[-_MOST_ANSWERED:]
        super().acknowledged(ranges)

    def let_go(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Take note that the outbox holds these no more, as :meth:`acknowledged` said them."""
        gone = set(ranges)
        self.answered = tuple(one for one in self.answered if one not in gone)
        self._answered = set()  # what is left of them is looked at once more

    def next_due_s(self, now: float) -> float:
        """See the base class; also not later than history may go on."""
        due = super().next_due_s(now)
        return min(due, self._rest_until - now) if self.until and now < self._rest_until else due

    def _forget(self) -> None:
        super()._forget()
        self._batch.clear()

    def _free(self, ranges: Ranges) -> None:
        super()._free(ranges)
        if self._batch:
            self._batch &= self._sent.keys()
            if not self._batch:
                self._batch_done(self._freed_at)

    def _batch_done(self, now: float) -> None:
        took = now - self._batch_at
        self._rest_until = now + took * (1 - self._share) / self._share
        whole = max(self._rest_until - self._batch_at, 1e-3)
        rate, before = self._batch_bytes / whole, self.history_bytes_per_s
        self.history_bytes_per_s = rate if not before else before + _SMOOTH * (rate - before)
