"""Guarded: a rule that breaks costs itself, and only where it breaks.

A rule that fails at a frame is judged apart from the others, in halves, down to the devices at which it fails.  For a minute
it passes those over from the start, and is then tried again.  Halving costs 2 ms a device or less, measured: only a rule
that fails at more than :data:`MANY` devices within that minute rests as a whole until it is over, for all devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import structlog

from cloud_ingest.isolation import is_the_machines, isolated
from rules.engine import RuleFault
from rules.state import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from rules.engine import Engine
    from rules.frame import Frame
    from rules.state import State
    from telemetry.clock import Clock
    from telemetry.faults import Faults
    from telemetry.transitions import Transition

    Judged = tuple[State, list[Transition]]

MANY = 256
"""So many devices are remembered of each rule: to find them in a frame of a thousand takes an eighth of a second, once a minute."""
REST_S = 60.0
log = structlog.get_logger()


class Guarded:
    """An engine some of whose rules may be broken."""

    def __init__(self, engine: Engine, faults: Faults, clock: Clock) -> None:
        self.engine, self._faults, self._clock = engine, faults, clock
        self._at_devices: dict[str, dict[str, float]] = {}  # rule → device → until when, monotonic s
        self._at_frames: dict[str, float] = {}  # rule → until when it rests
        self._at_ticks: dict[str, float] = {}

    def together(self, names: Iterable[str]) -> set[str]:
        """See :meth:`Engine.together`."""
        return self.engine.together(names)

    def evaluate(self, state: State, frame: Frame, now_ms: int, journal: Journal) -> Judged:
        """Judge a frame by every rule, at every device, that can."""
        resting, apart = self._resting(self._at_frames), self._passing_over(frame)
        mark = len(journal)
        while True:
            try:
                state, found = self.engine.evaluate(state, frame, now_ms, journal, resting | apart.keys())
                break
            except RuleFault as fault:
                journal.undo(mark)
                apart[fault.rule] = frozenset()
        for rule, passed_over in apart.items():
            state, more = self._apart(rule, passed_over, (state, frame, now_ms, journal))
            found += more
        return state, found

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

    def _apart(
        self, rule: str, passed_over: AbstractSet[str], what: tuple[State, Frame, int, Journal]
    ) -> Judged:
        """Judge by one rule, and find the devices at which it fails."""
        state, frame, now_ms, journal = what
        found: list[Transition] = []
        failed: dict[str, RuleFault] = {}
        room = MANY - len(self._at_devices.get(rule, ()))
        others = self.engine.rules_of(frame.device_class) - {rule}

        def judge(places: Sequence[int]) -> None:
            nonlocal state
            if len(failed) > room:
                return
            mark, chosen = len(journal), np.zeros(len(frame.devices), bool)
            chosen[places] = True
            part = frame.rows(np.flatnonzero(chosen[frame.index]))
            try:
                state, more = self.engine.evaluate(state, part, now_ms, journal, others)
            except RuleFault:
                journal.undo(mark)
                raise
            found.extend(more)

        def set_aside(place: int, error: Exception) -> None:
            if not isinstance(error, RuleFault):
                raise error
            failed[frame.devices[place]] = error

        isolated([n for n, device in enumerate(frame.devices) if device not in passed_over], judge, set_aside)
        if failed:
            self._pass_over(rule, failed)
        return state, found

    def _pass_over(self, rule: str, failed: Mapping[str, RuleFault]) -> None:
        device, fault = next(iter(failed.items()))
        self._note(fault, device=device, devices=str(len(failed)))
        until, known = self._clock.monotonic() + REST_S, self._at_devices.setdefault(rule, {})
        known.update(dict.fromkeys(failed, until))
        if len(known) > MANY:
            self._at_frames[rule] = until
            del self._at_devices[rule]
            log.error(
                "rule_rests",
                rule=rule,
                seconds=REST_S,
                problem="it fails at too many devices, and judges none meanwhile",
            )

    def _passing_over(self, frame: Frame) -> dict[str, AbstractSet[str]]:
        """Return the rules that are known to fail at devices of this frame, and at which."""
        if not self._at_devices:
            return {}
        now, devices = self._clock.monotonic(), set(frame.devices)
        for rule, known in list(self._at_devices.items()):
            self._at_devices[rule] = live = {device: until for device, until in known.items() if now < until}
            if not live:
                del self._at_devices[rule]
        return {rule: both for rule, known in self._at_devices.items() if (both := known.keys() & devices)}

    def _without_broken(self, work: Callable[[frozenset[str]], Judged]) -> Judged:
        while True:
            # A rule of silence that heard nothing while it rested has to hear its devices before it misses any.
            deaf = self._resting({rule: until + REST_S for rule, until in self._at_frames.items()})
            try:
                return work(deaf | self._resting(self._at_ticks))
            except RuleFault as fault:
                self._note(fault)
                self._at_ticks[fault.rule] = self._clock.monotonic() + REST_S

    def _note(self, fault: RuleFault, **where: str) -> None:
        self._faults.note(fault.rule, fault.__cause__ or fault, **where)

    def _resting(self, until: Mapping[str, float]) -> frozenset[str]:
        if not until:
            return frozenset()
        now = self._clock.monotonic()
        return frozenset(rule for rule, then in until.items() if now < then)
