"""Guarded: a rule that breaks costs itself, and only where it breaks.

A frame at which a rule fails is judged in parts, down to the device at which it does: that rule passes it over, and
all others judge it.  A rule that fails at :data:`MANY` devices of one frame rests for a minute, and is then tried again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from cloud_ingest.isolation import is_the_machines
from rules.engine import RuleFault
from rules.state import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rules.engine import Engine
    from rules.frame import Frame
    from rules.state import State
    from telemetry.clock import Clock
    from telemetry.faults import Faults
    from telemetry.transitions import Transition

    Judged = tuple[State, list[Transition]]

MANY = 3
REST_S = 60.0


class Guarded:
    """An engine some of whose rules may be broken."""

    def __init__(self, engine: Engine, faults: Faults, clock: Clock) -> None:
        self.engine, self._faults, self._clock = engine, faults, clock
        self._at_frames: dict[str, float] = {}  # rule → until when it rests, monotonic s
        self._at_ticks: dict[str, float] = {}

    def together(self, names: Iterable[str]) -> set[str]:
        """See :meth:`Engine.together`."""
        return self.engine.together(names)

    def evaluate(self, state: State, frame: Frame, now_ms: int, journal: Journal) -> Judged:
        """Judge a frame by every rule that can."""
        return self._judge((state, frame, now_ms, journal), Counter(), frozenset())

    def replayed(self, state: State, frame: Frame, at_ms: int) -> State:
        """Return the state after a frame that was judged before; one that no rule can be blamed for is passed over."""
        journal = Journal()
        try:
            return self.evaluate(state, frame, at_ms, journal)[0]
        except Exception as error:
            if is_the_machines(error):
                raise
            journal.undo()
            self._faults.note("replay", error, device_class=frame.device_class)
            return state

    def tick(self, state: State, now_ms: int) -> Judged:
        """Let time pass for every rule that can tell what that means."""

        def work(without: frozenset[str]) -> Judged:
            return self.engine.tick(state, now_ms, without)

        return self._without_broken(work)

    def expect(self, state: State, devices: Mapping[str, str], now_ms: int) -> State:
        """Wait for devices by every rule that can."""

        def work(without: frozenset[str]) -> Judged:
            return self.engine.expect(state, devices, now_ms, without), []

        return self._without_broken(work)[0]

    def _judge(
        self, what: tuple[State, Frame, int, Journal], failed: Counter[str], without: frozenset[str]
    ) -> Judged:
        state, frame, now_ms, journal = what
        mark = len(journal)
        try:
            return self.engine.evaluate(
                state, frame, now_ms, journal, without | self._resting(self._at_frames)
            )
        except RuleFault as fault:
            self._unless_the_machines(fault)
            journal.undo(mark)
            if len(frame.devices) == 1:
                failed[fault.rule] += 1
                self._note(fault, device=frame.devices[0])
                if failed[fault.rule] >= MANY:
                    self._at_frames[fault.rule] = self._clock.monotonic() + REST_S
                return self._judge(what, failed, without | {fault.rule})
        found: list[Transition] = []
        is_first = frame.index < len(frame.devices) // 2
        for rows in (np.flatnonzero(is_first), np.flatnonzero(~is_first)):
            state, more = self._judge((state, frame.rows(rows), now_ms, journal), failed, without)
            found += more
        return state, found

    def _without_broken(self, work: Callable[[frozenset[str]], Judged]) -> Judged:
        while True:
            # A rule of silence that heard nothing while it rested has to hear its devices before it misses any.
            deaf = self._resting({rule: until + REST_S for rule, until in self._at_frames.items()})
            try:
                return work(deaf | self._resting(self._at_ticks))
            except RuleFault as fault:
                self._unless_the_machines(fault)
                self._note(fault)
                self._at_ticks[fault.rule] = self._clock.monotonic() + REST_S

    def _note(self, fault: RuleFault, **where: str) -> None:
        self._faults.note(fault.rule, fault.__cause__ or fault, **where)

    def _unless_the_machines(self, fault: RuleFault) -> None:
        if isinstance(fault.__cause__, Exception) and is_the_machines(fault.__cause__):
            raise fault.__cause__

    def _resting(self, until: Mapping[str, float]) -> frozenset[str]:
        if not until:
            return frozenset()
        now = self._clock.monotonic()
        return frozenset(rule for rule, then in until.items() if now < then)
