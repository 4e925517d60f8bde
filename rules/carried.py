"""Two states of one class from following times, neither of which knows of the other, made one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rules.state import State

if TYPE_CHECKING:
    from rules.state import ClassState, RuleState

_IT = "class"


def carried_over(earlier: bytes, later: bytes) -> bytes:
    """Return the ``later`` dump of a class with what only the ``earlier`` one knows.

    That is all that is remembered of devices that were not heard since, and alarms that stood then and of which
    nothing was judged since: they stand, under their ids, until the next sample is judged.  Raises
    :class:`~telemetry.errors.Malformed` for what is no dump.
    """
    old, new = (State.load({_IT: dump}) for dump in (earlier, later))
    was, known = old.classes[_IT], len(new.classes[_IT].devices)
    state, part = new.fork(_IT)
    part.places(list(was.devices))
    for name, rule in part.rules.items():
        before = was.rules.get(name)
        if before is not None and _are_alike(before, len(was.devices), rule, known):
            _carry(before, was, rule, part)
    return state.dump(_IT)


def _are_alike(before: RuleState, were: int, rule: RuleState, are: int) -> bool:
    """Whether both remember the same of all their devices; a rule that was changed since begins anew."""
    lengths = len(before.columns["level"]), len(rule.columns["level"])
    same = before.basis == rule.basis and before.columns.keys() == rule.columns.keys()
    return same and lengths == (were, are)


def _carry(before: RuleState, was: ClassState, rule: RuleState, part: ClassState) -> None:
    known = len(rule.columns["level"])
    moves = [(place, part.devices[device]) for device, place in was.devices.items()]
    unheard = [place for place, to in moves if to >= known]  # in the order of their new places
    rule.columns = {
        name: np.concatenate([column, before.columns[name][unheard]]) for name, column in rule.columns.items()
    }
    rule.standing, rule.past, rule.bouts = dict(rule.standing), dict(rule.past), dict(rule.bouts)
    for place, to in moves:
        stands_yet = place in before.standing and to not in rule.standing and to not in rule.past
        if to < known and not stands_yet:
            continue
        for name, column in rule.columns.items():
            column[to] = before.columns[name][place]
        if place in before.standing:
            rule.standing[to] = before.standing[place]
        if place in before.past:
            rule.past[to] = before.past[place]
        if place in before.bouts:
            rule.bouts[to] = before.bouts[place]
