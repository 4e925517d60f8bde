"""CSV files through the detectors, row by row as they are read: nothing is held but the row."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import math
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rules.bank import FOLDER, Calendar, weekends
from rules.scoring import BUDGET, Scorer
from telemetry import plugins
from telemetry.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rules.scoring import Point

_EPOCH_MS = 1e11
"""A number above it counts milliseconds, below it seconds."""
_NONE = {"", "nan", "null", "none", "na", "n/a", "-", "inf", "-inf"}


class Wish(NamedTuple):
    """What to score of a file, and how."""

    file: Path
    time: str = ""
    values: tuple[str, ...] = ()
    missing: frozenset[float] = frozenset({-9999.0})
    budget_per_day: float = BUDGET
    detectors: tuple[str, ...] = ()
    utc_offset_h: float = 0.0
    together: bool = False


def lines(wish: Wish, *, as_json: bool, only_alarms: bool = False) -> Iterator[str]:
    """Return a line for each value; raise :class:`ConfigError` for what cannot be read."""
    for number, point in enumerate(points(wish)):
        if not number and not as_json:
            yield "time,series,value,score,flag,began,detector,because"
        if only_alarms and not point.detector:
            continue
        time = dt.datetime.fromtimestamp(point.time / 1000, dt.UTC).isoformat().replace("+00:00", "Z")
        value = point.value if math.isfinite(point.value) else None
        if as_json:
            told = {
                "time": time, "series": point.series, "value": value, "score": point.score, "flag": point.flag,
                "began": bool(point.detector), "detector": point.detector, "because": point.because,
            }  # fmt: skip
            yield msgspec.json.encode(told).decode()
        else:
            because = f'"{point.because.en}"' if point.because else ""
            shown = "" if value is None else f"{value:g}"
            yield f"{time},{point.series},{shown},{point.score:g},{int(point.flag)},{int(bool(point.detector))},{point.detector},{because}"


def points(wish: Wish) -> Iterator[Point]:
    """Return what is said of each value, in the file's order; rows that are not newer than the last score nothing."""
    known = plugins.names(FOLDER)
    for name in wish.detectors:
        if name not in known:
            raise ConfigError(
                wish.file, "--detectors", f"no detector '{name}'", hint=did_you_mean(name, known)
            )
    if wish.budget_per_day <= 0:
        raise ConfigError(wish.file, "--budget", f"{wish.budget_per_day:g}", hint="give alarms a day above 0")
    with _rows(wish.file) as rows:
        heading = next(rows, None)
        if not heading:
            raise ConfigError(wish.file, "line 1", "the file is empty", hint="give a CSV file with a heading")
        first = next(rows, None)
        time = _column(wish.file, "--time", wish.time, heading) if wish.time else 0
        values = [_column(wish.file, "--value", name, heading) for name in wish.values] or [
            n for n, cell in enumerate(first or heading) if n != time and _is_number(cell)
        ]
        if not values:
            raise ConfigError(
                wish.file, "--value", "no column holds numbers", hint="name the columns to score"
            )
        scorer = Scorer(
            [heading[n] for n in values], detectors=wish.detectors, budget_per_day=wish.budget_per_day,
            calendar=Calendar(round(3600 * wish.utc_offset_h), weekends), together=wish.together,
        )  # fmt: skip
        for line, row in enumerate(chain([first], rows) if first else (), 2):
            if row:
                yield from scorer.feed(_time(wish.file, line, row, time), _values(wish, row, values))


@contextmanager
def _rows(path: Path) -> Iterator[Iterator[list[str]]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield csv.reader(file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(path, "$", str(error), hint="give a CSV file in UTF-8") from None


def _column(path: Path, option: str, name: str, heading: Sequence[str]) -> int:
    if name in heading:
        return heading.index(name)
    raise ConfigError(path, option, f"no column '{name}'", hint=did_you_mean(name, heading))


def _time(path: Path, line: int, row: Sequence[str], column: int) -> int:
    text = row[column].strip() if column < len(row) else ""
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        return round(number if abs(number) > _EPOCH_MS else 1000 * number)
    try:
        when = dt.datetime.fromisoformat(text)
    except ValueError:
        hint = "write ISO 8601, or seconds or milliseconds since 1970"
        raise ConfigError(path, f"line {line}", f"'{text}' is no time", hint=hint) from None
    return round((when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp() * 1000)


def _values(wish: Wish, row: Sequence[str], columns: Sequence[int]) -> list[float]:
    return [_number(row[n], wish.missing) if n < len(row) else math.nan for n in columns]


def _number(cell: str, missing: frozenset[float]) -> float:
    if cell.strip().lower() in _NONE:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return math.nan
    return math.nan if value in missing else value


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.strip().lower() in _NONE
    return True
