"""Faults: what of a program itself breaks while its other parts go on: said once, counted, and over when it works again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from telemetry.clock import Clock

KEPT_S = 600.0
"""So long after its last failure something counts as broken."""
log = structlog.get_logger()


class Faults:
    """What broke lately, by name; ``on_fault`` hears the name each time.  Any thread may use it."""

    def __init__(self, clock: Clock, on_fault: Callable[[str], object] = lambda _: None) -> None:
        self._clock, self._on_fault = clock, on_fault
        self._broke: dict[str, tuple[float, str]] = {}  # when last (monotonic s), and how

    def note(self, name: str, error: BaseException, **where: str) -> None:
        """Count a failure, and log it unless it is as the last."""
        problem = f"{type(error).__name__}: {error}"
        if self._broke.get(name, (0.0, ""))[1] != problem:
            log.error(
                "part_broken", part=name, **where, exc_info=error,
                way_out="all else goes on, and it is tried again; report this, or take back what you changed last",
            )  # fmt: skip
        self._broke[name] = self._clock.monotonic(), problem
        self._on_fault(name)

    @contextmanager
    def spared(self, name: str, **where: str) -> Iterator[None]:
        """End what is inside when it fails, and nothing more."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            self.note(name, error, **where)

    def count(self) -> int:
        """Return how many parts broke within the last ten minutes."""
        for name, (at, _) in list(self._broke.items()):
            if self._clock.monotonic() - at > KEPT_S:
                del self._broke[name]
                log.info("part_works_again", part=name)
        return len(self._broke)
