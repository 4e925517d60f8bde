"""InfluxQL over the schema that ingest writes, in the subset that InfluxDB 1.x, 2.x and 3.x all answer.

A measurement is a class.  Tags are area, street, site, device and profile.  ``<metric>`` is a good sample,
``<metric>__u`` one with a doubt, ``<metric>__q`` why it is not good, ``upload`` stands in every point.  Each query
is bounded by Grafana's time range, and by ``$__interval`` where it makes a line, so that its answer is as long as
the panel is wide, not as the history is deep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLACE_TAGS = ("area", "street", "site", "device")
Format = Literal["time_series", "table"]
Fill = Literal["null", "none", "0"]


class Query(msgspec.Struct, frozen=True):
    """One query of a panel; ``alias`` names its lines, with ``$tag_<tag>`` and ``$col`` filled in by Grafana."""

    text: str
    alias: str = ""
    format: Format = "time_series"


def name(word: str) -> str:
    r"""Return a quoted identifier.

    >>> name("pm2_5")
    '"pm2_5"'
    """
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def where(tags: Sequence[str] = PLACE_TAGS) -> str:
    """Return the condition that the board's time range and variables make.

    >>> where(["site"])
    '$timeFilter AND "site" =~ /^${site:regex}$/'
    """
    return " AND ".join(["$timeFilter", *(f"{name(tag)} =~ /^${{{tag}:regex}}$/" for tag in tags)])


def columns(
    measurement: str, wanted: Mapping[str, tuple[str, str]], *, fill: Fill = "null", tags: Sequence[str] = PLACE_TAGS
) -> Query:  # fmt: skip
    """Return one line for each column: ``wanted`` maps its title to ``(function, field)``."""
    return Query(
        f"SELECT {_listed(wanted)} FROM {name(measurement)} WHERE {where(tags)} "
        f"GROUP BY time($__interval) fill({fill})",
        "$col",
    )


def lines_by(measurement: str, what: tuple[str, str], tag: str, *, tags: Sequence[str] = PLACE_TAGS) -> Query:
    """Return one line for each value of ``tag``; ``what`` is ``(function, field)``."""
    how, field = what
    return Query(
        f"SELECT {how}({name(field)}) FROM {name(measurement)} WHERE {where(tags)} "
        f"GROUP BY time($__interval), {name(tag)} fill(null)",
        f"$tag_{tag}",
    )


def newest(
    measurement: str, wanted: Mapping[str, str], by: Sequence[str], *, tags: Sequence[str] = PLACE_TAGS
) -> Query:
    """Return a table of the newest values within the range, a row for each combination of ``by``."""
    fields = {title: ("last", field) for title, field in wanted.items()}
    return Query(
        f"SELECT {_listed(fields)} FROM {name(measurement)} WHERE {where(tags)} "
        f"GROUP BY {', '.join(map(name, by))}",
        format="table",
    )


def devices_heard(measurement: str, alias: str, *, tags: Sequence[str] = PLACE_TAGS) -> Query:
    """Return how many devices said anything in each interval; a dip is a gap."""
    return _count_devices(measurement, ("last", "upload"), "", alias, tags)


def devices_where(
    measurement: str, what: tuple[str, str], condition: str, alias: str, *, tags: Sequence[str] = PLACE_TAGS
) -> Query:
    """Return for how many devices ``function(field)`` meets the condition, such as ``> 85``, in each interval."""
    return _count_devices(measurement, what, f'"v" {condition} AND ', alias, tags)


def consumed(measurement: str, field: str, alias: str, *, tags: Sequence[str] = PLACE_TAGS) -> Query:
    """Return by how much a counter rose in each interval, all devices together; a reset is no fall."""
    inner = (
        f'SELECT non_negative_difference(last({name(field)})) AS "v" FROM {name(measurement)} WHERE {where(tags)} '
        f"GROUP BY time($__interval), {name('device')} fill(none)"
    )
    return Query(
        f'SELECT sum("v") FROM ({inner}) WHERE $timeFilter GROUP BY time($__interval) fill(null)', alias
    )


def tag_values(tag: str, *, measurement: str = "", within: Sequence[str] = ()) -> str:
    """Return the query of a variable: the values of ``tag`` in what the variables ``within`` leave.

    >>> tag_values("site", within=["area"])
    'SHOW TAG VALUES WITH KEY = "site" WHERE "area" =~ /^${area:regex}$/'
    """
    source = f"FROM {name(measurement)} " if measurement else ""
    conditions = " AND ".join(f"{name(other)} =~ /^${{{other}:regex}}$/" for other in within)
    bound = f" WHERE {conditions}" if conditions else ""
    return f"SHOW TAG VALUES {source}WITH KEY = {name(tag)}{bound}"


def _count_devices(
    measurement: str, what: tuple[str, str], condition: str, alias: str, tags: Sequence[str]
) -> Query:
    how, field = what
    inner = (
        f'SELECT {how}({name(field)}) AS "v" FROM {name(measurement)} WHERE {where(tags)} '
        f"GROUP BY time($__interval), {name('device')} fill(none)"
    )
    return Query(
        f'SELECT count("v") FROM ({inner}) WHERE {condition}$timeFilter GROUP BY time($__interval) fill(0)',
        alias,
    )


def _listed(wanted: Mapping[str, tuple[str, str]]) -> str:
    return ", ".join(f"{how}({name(field)}) AS {name(title)}" for title, (how, field) in wanted.items())
