"""What ingest tells: alarms to the outbox, in the transaction of their readings; the rest to log and metrics."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import structlog

from telemetry.codecs import json
from telemetry.outbox import Priority
from telemetry.transitions import AlarmMessage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cloud_ingest.metrics import Metrics
    from cloud_ingest.turns import Plan, Turns
    from telemetry.outbox import Outbox
    from telemetry.transitions import Transition

_SHADOWS_MOST = 1000
log = structlog.get_logger()


class News:
    """``shadows`` are what packs on trial told since the start, the newest last: they page nobody."""

    def __init__(self, producer: str, outbox: Outbox, metrics: Metrics) -> None:
        self._producer, self._outbox, self._metrics = producer, outbox, metrics
        self.shadows: deque[Transition] = deque(maxlen=_SHADOWS_MOST)
        self._turned_away = set[str]()

    def hand_on(self, found: Iterable[Transition], now_ms: int) -> None:
        """Queue transitions for the desk, inside the caller's transaction."""
        for transition in found:
            if transition.shadow:
                continue
            self._outbox.put(partial(self._message, now_ms, transition), priority=Priority.ALARM)

    def tell(self, found: Sequence[Transition]) -> None:
        """Log and count transitions that are committed."""
        self.shadows.extend(transition for transition in found if transition.shadow)
        for transition in found:
            log.info(
                "shadow" if transition.shadow else "alarm", change=transition.change.value, rule=transition.rule, device=transition.device,
                severity=transition.severity.name.lower(), value=transition.value, retrospective=transition.retrospective,
            )  # fmt: skip
            self._metrics.transitions.labels(transition.change.value).inc()

    def again(self, standing: Iterable[Transition], now_ms: int) -> list[AlarmMessage]:
        """Return a re-assertion of each standing alarm; it has no seq and asks for no receipt."""
        return [
            AlarmMessage(self._producer, self._outbox.boot, 0, now_ms, transition) for transition in standing
        ]

    def _message(self, now_ms: int, transition: Transition, seq: int) -> bytes:
        return json.encode(AlarmMessage(self._producer, self._outbox.boot, seq, now_ms, transition))

    def turned_away(self, plan: Plan, turns: Turns) -> None:
        """Count what found no place to wait, and say of each agent once that it sends too much."""
        self._metrics.turned_away.inc(len(plan.turned_away))
        for agent in {delivery.agent for delivery in plan.turned_away} - self._turned_away:
            self._turned_away.add(agent)
            log.warning(
                "uploads_turned_away", agent=agent, waiting_bytes=turns.bytes_of(agent),
                way_out="the agent keeps them and sends them again; see how much it sends, and whether it awaits receipts",
            )  # fmt: skip
