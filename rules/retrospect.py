"""Late data: samples older than what a rule has judged already for the device.

The late samples of one frame are judged by the rule's own condition, from nothing, and what they find is marked
retrospective: it pages no one and touches neither a standing alarm nor a running ``for_s``.  What still
holds at the last late sample ends there, since nothing is known of what came after it.  An episode that lies
within an alarm that stands, or within the device's latest ended one, is known already and not told again.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from rules.alarms import Moment, end
from rules.state import RuleState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rules.alarms import Teller
    from rules.batch import Batch
    from telemetry.transitions import Transition

FOREVER = 2**63 - 1


def retrospect(teller: Teller, memory: RuleState, batch: Batch, now_ms: int) -> list[Transition]:
    """Return what the late rows tell; the batch holds them alone, ``memory`` is only read."""
    if teller.condition is None:
        return []
    then = dataclasses.replace(teller, retrospective=True)
    places = np.unique(batch.places[np.concatenate(batch.rounds)])
    scratch = RuleState.new(teller.condition.basis, teller.condition.columns, len(places))
    batch = batch.at(
        np.searchsorted(places, batch.places)
    )  # right for the late rows, and no other is asked for
    value = np.full(len(places), np.nan)
    found: list[Transition] = []
    for rows in batch.rounds:
        fresh = rows[batch.time[rows] > scratch.take("judged", batch.places[rows])]
        value[batch.places[fresh]] = batch.values[fresh]
        seen, names = batch.seen(scratch, fresh)
        found += then.sweep(scratch, seen, names, now_ms)
    for place, alarm in list(scratch.standing.items()):
        last = int(scratch.columns["judged"][place])
        found.append(
            end(scratch, Moment(place, alarm.latest.device, last, float(value[place]), now_ms), alarm)
        )
    place_of = {batch.frame.devices[i]: int(places[p]) for i, p in _devices(batch)}
    return _news(found, memory, place_of)


def _devices(batch: Batch) -> Iterator[tuple[int, int]]:
    rows = np.concatenate(batch.rounds)
    return zip(batch.frame.index[rows].tolist(), batch.places[rows].tolist(), strict=True)


def _news(found: list[Transition], memory: RuleState, place_of: Mapping[str, int]) -> list[Transition]:
    """Leave out the episodes that are known already."""
    episodes: dict[str, list[Transition]] = {}
    for transition in found:
        episodes.setdefault(transition.alarm, []).append(transition)
    news = []
    for episode in episodes.values():
        place, first, last = place_of[episode[0].device], episode[0].time, episode[-1].time
        spans = [memory.past[place]] if place in memory.past else []
        if (alarm := memory.standing.get(place)) is not None:
            spans.append((alarm.began, FOREVER))
        if not any(first < ended and last >= began for began, ended in spans):
            news += episode
    return news
