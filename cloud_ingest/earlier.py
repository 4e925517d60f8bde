"""What a store may hold already: which rows of a frame to ask for, and what they would take the place of.

A row that is newer than all that was written of its device, and stands alone, takes no other's place.  Such are nearly
all, so nearly nothing is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from telemetry.quality import ABSENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from rules.frame import Frame

_THIS = -1  # another row of the frame, of whichever upload


class Held(NamedTuple):
    """What the store has of one device and time."""

    upload: int
    spoken: NDArray[np.bool_]  # (m,), whether there is a sample of each metric


class Newest:
    """The newest time written of each device; the store is asked once, and again after :meth:`forget`."""

    def __init__(self, ask: Callable[[], dict[str, int]]) -> None:
        self._ask = ask
        self._times: dict[str, int] | None = None

    def late(self, frame: Frame) -> NDArray[np.intp]:
        """Return the rows of which the store may have something: none of them newer than all that it has."""
        times = self._learned()
        bound = np.array([times.get(device, -1) for device in frame.devices], np.int64)
        return np.flatnonzero(frame.time <= bound[frame.index])

    def note(self, frames: Iterable[Frame]) -> None:
        """Take note of what was written."""
        times = self._learned()
        for frame in frames:
            last = np.full(len(frame.devices), -1, np.int64)
            np.maximum.at(last, frame.index, frame.time)
            times.update(
                (device, time)
                for device, time in zip(frame.devices, last.tolist(), strict=True)
                if time > times.get(device, -1)
            )

    def forget(self) -> None:
        """Ask anew: whether the last write is there is not known."""
        self._times = None

    def _learned(self) -> dict[str, int]:
        if self._times is None:
            self._times = self._ask()
        return self._times


def rounds(frame: Frame) -> list[NDArray[np.intp]]:
    """Split the rows so that no device and time comes twice in one part; equals keep their order."""
    order = np.lexsort((frame.time, frame.index))
    device, time = frame.index[order], frame.time[order]
    again = np.zeros(len(order), np.bool_)
    again[1:] = (device[1:] == device[:-1]) & (time[1:] == time[:-1])
    if not again.any():
        return [np.arange(len(frame))]
    first = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
    nth = np.empty(len(order), np.intp)
    nth[order] = np.arange(len(order)) - first
    return [np.flatnonzero(nth == n) for n in range(int(nth.max()) + 1)]


def replaced(
    frame: Frame, uploads: Sequence[int], late: NDArray[np.intp],
    ask: Callable[[NDArray[np.intp]], Mapping[tuple[str, int], Held]],
) -> dict[str, int] | None:  # fmt: skip
    """Return how many samples of each device another upload's would take the place of, row by row.

    ``uploads`` names the upload of each row, ``late`` the rows that ``ask`` is to look up.  None when there is nothing
    that any row meets.  What is there from the same upload was written before a crash, and is the row itself.
    """
    parts = rounds(frame)
    if not len(late) and len(parts) == 1:
        return None
    there = dict(ask(late)) if len(late) else {}
    spoken = frame.quality != ABSENT
    twice = np.concatenate(parts[1:]) if len(parts) > 1 else late[:0]
    meet = np.isin(
        frame.index, frame.index[np.concatenate([late, twice])]
    )  # of those devices all rows, in order
    found: dict[str, int] = {}
    for row in np.flatnonzero(meet).tolist():
        device = frame.devices[frame.index[row]]
        key, mine = (device, int(frame.time[row])), spoken[row]
        before = there.get(key)
        if before is None:
            there[key] = Held(_THIS, mine)
            continue
        if before.upload != uploads[row] and (again := int(np.count_nonzero(before.spoken & mine))):
            found[device] = found.get(device, 0) + again
        there[key] = Held(_THIS, before.spoken | mine)
    return found


def sum_of(parts: Iterable[dict[str, int] | None]) -> dict[str, int] | None:
    """Add up what :func:`replaced` found in each frame."""
    met = [part for part in parts if part is not None]
    if not met:
        return None
    total: dict[str, int] = {}
    for part in met:
        for device, samples in part.items():
            total[device] = total.get(device, 0) + samples
    return total
