"""Frames as InfluxDB line protocol, from one template a layout: no object per point.

::

    noise_monitor,area=yeji,device=n1,profile=sonbest_sm7901b,site=s1 sound_level=53.6,received=…i,upload=…i 1764000000000
    └ class       └ tags                                              └ fields                               └ UTC ms

A good sample is the field ``<metric>``.  A sample that is not good is ``<metric>__q``, its quality code, and with
it ``<metric>__u`` where it has a value all the same: so a board or a query that asks for ``<metric>`` gets what
can be believed and nothing else.  Every metric is a float for ever, every other field an integer.
Line protocol: InfluxData, "Line protocol reference" (InfluxDB 1.x to 3.x).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from telemetry.quality import ABSENT, UNCERTAIN_FROM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from rules.frame import Frame

_TAG_ESCAPES = str.maketrans({",": r"\,", " ": r"\ ", "=": r"\="})
_VALUE = 1 << 8  # in a layout, beside the quality: there is a value


def prefix(device_class: str, tags: Mapping[str, str]) -> str:
    r"""Return measurement and tags, the tags sorted as InfluxDB wants them.

    >>> prefix("noise_monitor", {"site": "East Gate", "device": "n1"})
    'noise_monitor,device=n1,site=East\\ Gate '
    """
    told = ",".join(f"{key}={value.translate(_TAG_ESCAPES)}" for key, value in sorted(tags.items()) if value)
    return f"{device_class},{told} "


def lines(
    frame: Frame,
    metrics: Sequence[str],
    prefixes: Sequence[str],
    uploads: NDArray[np.int64],
    received_ms: int,
) -> list[str]:
    """Return a line for each row of ``frame``, ``""`` for a row that says nothing.

    ``metrics`` names the columns, ``prefixes[i]`` is that of ``frame.devices[i]``, ``uploads`` has shape (n,).
    """
    there = np.isfinite(frame.values) & (frame.quality != ABSENT)
    layout = np.empty((len(frame), len(metrics) + 1), np.uint16)
    layout[:, :-1] = frame.quality | np.where(there, np.uint16(_VALUE), np.uint16(0))
    layout[:, -1] = frame.shift != 0
    made = [""] * len(frame)
    for rows in _alike(layout):
        *row, shifted = layout[rows[0]].tolist()
        template = _template(metrics, row, received_ms, shifted=bool(shifted))
        if not template:
            continue
        valued = np.flatnonzero(np.array(row) & _VALUE)
        index, times = frame.index[rows].tolist(), frame.time[rows]
        columns = [
            [prefixes[i] for i in index],
            *frame.values[np.ix_(rows, valued)].T.tolist(),
            uploads[rows].tolist(),
        ]
        if shifted:
            columns.append((times - frame.shift[rows]).tolist())
        columns.append(times.tolist())
        for place, told in zip(rows.tolist(), zip(*columns, strict=True), strict=True):
            made[place] = template % told
    return made


def _alike(layout: NDArray[np.uint16]) -> list[NDArray[np.intp]]:
    """Split the rows so that those of one part say the same metrics in the same quality."""
    if not len(layout):
        return []
    if (layout == layout[0]).all():
        return [np.arange(len(layout))]
    keys = np.ascontiguousarray(layout).view(f"V{layout.itemsize * layout.shape[1]}").ravel()
    _, which = np.unique(keys, return_inverse=True)
    order = np.argsort(which, kind="stable")
    return np.split(order, np.cumsum(np.bincount(which))[:-1])


def _template(metrics: Sequence[str], layout: Sequence[int], received_ms: int, *, shifted: bool) -> str:
    valued, codes = [], []
    for metric, told in zip(metrics, layout, strict=True):
        quality = told & 0xFF
        if quality == ABSENT:
            continue
        if quality:
            codes.append(f"{metric}__q={quality}i")
        if told & _VALUE:
            valued.append(f"{metric}=%r" if quality < UNCERTAIN_FROM else f"{metric}__u=%r")
    if not valued and not codes:
        return ""
    raw = ",raw_time=%di" if shifted else ""
    return "%s" + ",".join([*valued, *codes]) + f",received={received_ms}i,upload=%di{raw} %d"
