"""What the engine remembers between two frames, as arrays over the devices of a class.

A state is never changed: :meth:`State.own` gives the copy that the next state is made in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from telemetry.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

VERSION = 1
NEVER = -1
"""In an array of times: it is not so."""

_COLUMNS: dict[str, Any] = {
    "level": np.int8,  # the severity that stands, 0 for none
    "ordinal": np.int32,  # transitions of the standing alarm so far
    "began": np.int64,  # UTC ms, of the standing alarm
    "judged": np.int64,  # time of the newest sample that was known
    "changed": np.int64,  # time of the latest transition
    "value": np.float64,  # at the latest transition
    "reference": np.float64,  # stuck: the value that has not moved; no data: unused
    "reference_at": np.int64,  # stuck: since when; no data: when the device was last heard
}
_FILL = {"level": 0, "ordinal": 0, "value": np.nan, "reference": np.nan}


@dataclass
class RuleState:
    """One rule over all devices of its class; ``since`` is int64 (steps, devices)."""

    columns: dict[str, NDArray[Any]]
    since: NDArray[np.int64]

    @classmethod
    def new(cls, steps: int, devices: int) -> RuleState:
        """Nothing has happened yet."""
        columns = {name: np.full(devices, _FILL.get(name, NEVER), kind) for name, kind in _COLUMNS.items()}
        return cls(columns, np.full((steps, devices), NEVER, np.int64))

    def copy(self) -> RuleState:
        """Return a copy that may be changed."""
        return RuleState({name: column.copy() for name, column in self.columns.items()}, self.since.copy())

    def grow(self, by: int) -> None:
        """Make room for ``by`` more devices."""
        more = RuleState.new(len(self.since), by)
        self.columns = {name: np.concatenate([c, more.columns[name]]) for name, c in self.columns.items()}
        self.since = np.concatenate([self.since, more.since], axis=1)


@dataclass
class ClassState:
    """All rules of one class."""

    devices: dict[str, int] = field(default_factory=dict)  # id → column
    rules: dict[str, RuleState] = field(default_factory=dict)

    def copy(self) -> ClassState:
        """Return a copy that may be changed."""
        return ClassState(dict(self.devices), {rule: state.copy() for rule, state in self.rules.items()})

    def places(self, devices: Iterable[str]) -> NDArray[np.intp]:
        """Return the columns of ``devices``, making new ones for those never seen."""
        new = [device for device in devices if device not in self.devices]
        for device in new:
            self.devices[device] = len(self.devices)
        if new:
            for state in self.rules.values():
                state.grow(len(self.devices) - len(state.columns["level"]))
        return np.array([self.devices[device] for device in devices], np.intp)

    def rule(self, rule: str, steps: int) -> RuleState:
        """Return a rule's state, making it where the rule is new."""
        if rule not in self.rules or len(self.rules[rule].since) != steps:
            self.rules[rule] = RuleState.new(steps, len(self.devices))
        return self.rules[rule]


class _Stored(msgspec.Struct):
    version: int
    devices: list[str]
    rules: dict[str, tuple[int, dict[str, bytes], bytes]]


@dataclass
class State:
    """Everything that the engine remembers, a part for each class."""

    classes: dict[str, ClassState] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> State:
        """Return the state of an engine that has seen nothing."""
        return cls()

    def own(self, device_class: str) -> tuple[State, ClassState]:
        """Return a new state and, in it, a copy of one class's part that may be changed."""
        part = self.classes.get(device_class, ClassState()).copy()
        return State({**self.classes, device_class: part}), part

    def dump(self, device_class: str) -> bytes:
        """Return one class's part as bytes."""
        part = self.classes[device_class]
        rules = {
            name: (
                len(rule.since),
                {c: array.tobytes() for c, array in rule.columns.items()},
                rule.since.tobytes(),
            )
            for name, rule in part.rules.items()
        }
        return msgspec.msgpack.encode(_Stored(VERSION, list(part.devices), rules))

    @classmethod
    def load(cls, parts: Mapping[str, bytes]) -> State:
        """Return the state that :meth:`dump` wrote; raise :class:`Malformed` for anything else."""
        return cls({name: _load(data) for name, data in parts.items()})


def _load(data: bytes) -> ClassState:
    try:
        stored = msgspec.msgpack.decode(data, type=_Stored)
    except msgspec.DecodeError as error:
        raise Malformed(f"rule state: {error}", data) from None
    if stored.version != VERSION:
        raise Malformed(f"rule state of version {stored.version}, this is {VERSION}", data)
    count = len(stored.devices)
    rules = {}
    for name, (steps, columns, since) in stored.rules.items():
        state = RuleState(
            {c: np.frombuffer(columns[c], kind).copy() for c, kind in _COLUMNS.items()},
            np.frombuffer(since, np.int64).reshape(steps, -1).copy(),
        )
        if any(len(column) != count for column in state.columns.values()):
            raise Malformed(f"rule state of '{name}' is cut short", data)
        rules[name] = state
    return ClassState({device: place for place, device in enumerate(stored.devices)}, rules)
