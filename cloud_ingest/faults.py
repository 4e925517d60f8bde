"""Faults: what of ingest itself breaks, beside the messages: said once, counted, and over when it works again.

What ingest fails at with a message is :mod:`cloud_ingest.isolation`'s.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud_ingest.metrics import Metrics
    from telemetry.clock import Clock

KEPT_S = 600.0
"""So long after its last failure something counts as broken."""
log = structlog.get_logger()


class Faults:
    """What broke lately, by name: a rule's id, or a duty of ingest such as ``tick``.  Any thread may use it."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock, self._metrics = clock, metrics
        self._broke: dict[str, tuple[float, str]] = {}  # when last (monotonic s), and how

    def note(self, name: str, error: BaseException, **where: str) -> None:
        """Count a failure, and log it unless it is as the last."""
        problem = f"{type(error).__name__}: {error}"
        if self._broke.get(name, (0.0, ""))[1] != problem:
            log.error(
                "part_broken", part=name, **where, exc_info=error,
                way_out="all else goes on, and it is tried again; report this, or take a rule of your own back",
            )  # fmt: skip
        self._broke[name] = self._clock.monotonic(), problem
        self._metrics.faults.labels(name).inc()

    @contextmanager
    def spared(self, name: str) -> Iterator[None]:
        """End what is inside when it fails, and nothing more."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            self.note(name, error)

    def count(self) -> int:
        """Return how many parts broke within the last ten minutes."""
        for name, (at, _) in list(self._broke.items()):
            if self._clock.monotonic() - at > KEPT_S:
                del self._broke[name]
                log.info("part_works_again", part=name)
        return len(self._broke)
