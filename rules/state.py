"""What the engine remembers between two frames: arrays over the devices of a class, and the standing alarms.

A state is never changed.  :meth:`State.fork` gives the one that the next is made in; it shares every array
with the old one until that array is written.

Copying an array costs what all devices of the class cost, though a frame touches few.  Who gives a :class:`Journal` has
the arrays written where they are instead, and gives the old state up: until :meth:`Journal.undo` it must not be used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from telemetry.errors import Malformed
from telemetry.transitions import Transition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

VERSION = 2
NEVER = -1
"""In an array of times: it is not so."""


class Column(NamedTuple):
    """What is remembered for each device: one number, or ``width`` of them."""

    kind: str
    fill: float
    width: int = 1


TIME = Column("<i8", NEVER)
SPAN = Column("<i8", 0)
VALUE = Column("<f8", np.nan)
LEVEL = Column("|i1", 0)
PLACE = Column("<i4", 0)
_KINDS = {column.kind for column in (TIME, VALUE, LEVEL, PLACE)} | {"<f4", "|u1"}
COMMON: Mapping[str, Column] = {"level": LEVEL, "judged": TIME}
"""What every rule remembers: the severity that stands (0: none), and the time of the newest known sample."""


class Alarm(msgspec.Struct, frozen=True):
    """An alarm that stands: when it began (UTC ms), and its nth transition, which is its latest."""

    began: int
    ordinal: int
    latest: Transition


class Journal:
    """What was written over, so that it can be put back."""

    def __init__(self) -> None:
        self._before: list[tuple[NDArray[Any], Any, Any]] = []

    def note(self, column: NDArray[Any], places: Any) -> None:
        """Keep what is at ``places``, which are about to be written."""
        self._before.append((column, places, column[places].copy()))

    def __len__(self) -> int:
        return len(self._before)

    def undo(self, down_to: int = 0) -> None:
        """Put everything back, or all but the first ``down_to`` notes: the state from before is what it was."""
        while len(self._before) > down_to:
            column, places, values = self._before.pop()
            column[places] = values


@dataclass
class RuleState:
    """What one rule remembers.  The keys of ``standing`` and ``past`` are places in the columns."""

    basis: str
    """How the condition reads; when that changes, what it remembered is void."""
    columns: dict[str, NDArray[Any]]
    standing: dict[int, Alarm] = field(default_factory=dict)
    past: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Of each device's latest ended alarm: when it began and ended."""
    bouts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """When each device's latest alarms began, three at most."""
    _mine: set[str] = field(default_factory=set)
    _journal: Journal | None = None

    @classmethod
    def new(cls, basis: str, columns: Mapping[str, Column], devices: int) -> RuleState:
        """Nothing has happened yet."""
        made = {name: _filled(c, devices) for name, c in {**COMMON, **columns}.items()}
        return cls(basis, made, _mine={*made, "alarms"})

    def fork(self, journal: Journal | None = None) -> RuleState:
        """Return a state that may be written; arrays are copied when they are, or noted in ``journal``."""
        return RuleState(
            self.basis, dict(self.columns), self.standing, self.past, self.bouts, _journal=journal
        )

    def take(self, name: str, places: NDArray[np.intp]) -> NDArray[Any]:
        """Return what is remembered at ``places``."""
        taken: NDArray[Any] = self.columns[name][places]
        return taken

    def put(self, name: str, places: Any, values: Any) -> None:
        """Remember ``values`` at ``places``."""
        self.own(name, places)[places] = values

    def own(self, name: str, places: Any) -> NDArray[Any]:
        """Return a column that may be written at ``places`` and nowhere else."""
        column = self.columns[name]
        if name in self._mine:
            return column
        if self._journal is None or not column.flags.writeable:
            column = self.columns[name] = column.copy()
            self._mine.add(name)
        else:
            self._journal.note(column, places)
        return column

    def begin(self, place: int, began: int) -> tuple[int, ...]:
        """Remember that an alarm begins (UTC ms); return when the latest three did, this one the last."""
        self._own_alarms()
        self.bouts[place] = (*self.bouts.get(place, ()), began)[-3:]
        return self.bouts[place]

    def stand(self, place: int, alarm: Alarm) -> None:
        """Remember the alarm that stands at ``place``."""
        self._own_alarms()
        self.standing[place] = alarm
        self.put("level", place, int(alarm.latest.severity))

    def end(self, place: int, ended: int) -> None:
        """Remember that the alarm at ``place`` has ended at ``ended`` (UTC ms)."""
        self._own_alarms()
        self.past[place] = (self.standing.pop(place).began, ended)
        self.put("level", place, 0)

    def _own_alarms(self) -> None:
        if "alarms" not in self._mine:
            self.standing, self.past, self.bouts = dict(self.standing), dict(self.past), dict(self.bouts)
            self._mine.add("alarms")

    def grow(self, columns: Mapping[str, Column], devices: int) -> None:
        """Make room for ``devices`` in all."""
        more = RuleState.new(self.basis, columns, devices - len(self.columns["level"])).columns
        self.columns = {name: np.concatenate([c, more[name]]) for name, c in self.columns.items()}
        self._mine |= set(self.columns)

    def relearn(self, basis: str, columns: Mapping[str, Column]) -> RuleState:
        """Return the state for a condition that reads differently now: alarms stand until it is judged anew."""
        fresh = RuleState.new(basis, columns, len(self.columns["level"]))
        for name in COMMON:
            fresh.columns[name] = self.columns[name].copy()
        fresh.standing, fresh.past, fresh.bouts = dict(self.standing), dict(self.past), dict(self.bouts)
        return fresh


@dataclass
class ClassState:
    """All rules of one class."""

    devices: dict[str, int] = field(default_factory=dict)  # id → place
    rules: dict[str, RuleState] = field(default_factory=dict)
    retired: frozenset[str] = frozenset()
    """Devices that are no longer registered and may still have alarms to end."""

    def fork(self, journal: Journal | None = None) -> ClassState:
        """Return a copy that may be changed."""
        rules = {rule: state.fork(journal) for rule, state in self.rules.items()}
        return ClassState(self.devices, rules, self.retired)

    def places(self, devices: Sequence[str]) -> NDArray[np.intp]:
        """Return the places of ``devices``, making new ones for those never seen."""
        new = [device for device in dict.fromkeys(devices) if device not in self.devices]
        if new:
            self.devices = {**self.devices, **{name: len(self.devices) + n for n, name in enumerate(new)}}
        return np.fromiter(map(self.devices.__getitem__, devices), np.intp, len(devices))

    def rule(self, rule: str, basis: str, columns: Mapping[str, Column]) -> RuleState:
        """Return a rule's memory with room for all devices, made anew where there is none of this basis."""
        mine = self.rules.get(rule)
        if mine is None:
            mine = self.rules[rule] = RuleState.new(basis, columns, len(self.devices))
        elif mine.basis != basis or mine.columns.keys() != {*COMMON, *columns}:
            mine = self.rules[rule] = mine.relearn(basis, columns)
        if len(mine.columns["level"]) < len(self.devices):
            mine.grow(columns, len(self.devices))
        return mine


class _StoredRule(msgspec.Struct):
    basis: str
    columns: dict[str, tuple[str, bytes]]
    standing: list[tuple[int, Alarm]]
    past: list[tuple[int, int, int]]
    bouts: list[tuple[int, tuple[int, ...]]] = []


class _Stored(msgspec.Struct):
    version: int
    devices: list[str]
    rules: dict[str, _StoredRule]


@dataclass
class State:
    """Everything that the engine remembers, a part for each class."""

    classes: dict[str, ClassState] = field(default_factory=dict)

    @classmethod
    def empty(cls) -> State:
        """Return the state of an engine that has seen nothing."""
        return cls()

    def fork(self, device_class: str, journal: Journal | None = None) -> tuple[State, ClassState]:
        """Return a new state and, in it, one class's part that may be changed."""
        part = self.classes.get(device_class, ClassState()).fork(journal)
        return State({**self.classes, device_class: part}), part

    def dump(self, device_class: str) -> bytes:
        """Return one class's part as bytes; ``KeyError`` for a class that is not in :attr:`classes`."""
        part = self.classes[device_class]
        rules = {
            name: _StoredRule(
                rule.basis,
                {c: _stored(array) for c, array in rule.columns.items()},
                list(rule.standing.items()),
                [(place, *span) for place, span in rule.past.items()],
                list(rule.bouts.items()),
            )
            for name, rule in part.rules.items()
        }
        return msgspec.msgpack.encode(_Stored(VERSION, list(part.devices), rules))

    @classmethod
    def load(cls, parts: Mapping[str, bytes]) -> State:
        """Return the state that :meth:`dump` wrote, class by class; :class:`Malformed` for anything else."""
        return cls({name: _load(data) for name, data in parts.items()})


class _Version(msgspec.Struct):
    version: int


def _load(data: bytes) -> ClassState:
    try:
        version = msgspec.msgpack.decode(data, type=_Version).version
        if version != VERSION:
            raise Malformed(f"rule state of version {version}, this is {VERSION}", data)
        stored = msgspec.msgpack.decode(data, type=_Stored)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(f"rule state: {error}", data) from None
    count = len(stored.devices)
    rules = {}
    for name, rule in stored.rules.items():
        if not rule.columns.keys() >= COMMON.keys():
            raise Malformed(f"rule state of '{name}' has no {sorted(COMMON.keys() - rule.columns)}", data)
        if not all(0 <= place < count for place in _places(rule)):
            raise Malformed(f"rule state of '{name}' tells of a device that is not there", data)
        columns = {c: _column(name, kind, held, data) for c, (kind, held) in rule.columns.items()}
        if len({len(column) for column in columns.values()}) != 1 or len(columns["level"]) > count:
            raise Malformed(f"rule state of '{name}' is cut short", data)
        if set(np.flatnonzero(columns["level"]).tolist()) != {place for place, _ in rule.standing}:
            raise Malformed(f"rule state of '{name}' has alarms that do not stand", data)
        past = {place: (began, ended) for place, began, ended in rule.past}
        rules[name] = RuleState(rule.basis, columns, dict(rule.standing), past, dict(rule.bouts))
    return ClassState({device: place for place, device in enumerate(stored.devices)}, rules)


def _places(rule: _StoredRule) -> Iterable[int]:
    return [
        *(place for place, _ in rule.standing),
        *(place for place, _, _ in rule.past),
        *(place for place, _ in rule.bouts),
    ]


def _filled(column: Column, devices: int) -> NDArray[Any]:
    shape = devices if column.width == 1 else (devices, column.width)
    return np.full(shape, column.fill, column.kind)


def _stored(array: NDArray[Any]) -> tuple[str, bytes]:
    width = f"*{array.shape[1]}" if array.ndim > 1 else ""
    return array.dtype.str + width, array.tobytes()


def _column(rule: str, kind: str, held: bytes, data: bytes) -> NDArray[Any]:
    kind, _, wide = kind.partition("*")
    width = int(wide) if wide.isdecimal() else 0 if wide else 1
    if kind not in _KINDS or not width or len(held) % (width * np.dtype(kind).itemsize):
        raise Malformed(f"rule state of '{rule}' has a broken column", data)
    flat = np.frombuffer(held, kind)  # read-only: written only after a copy
    return flat.reshape(-1, width) if wide else flat
