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
from rules.batch import in_rounds
from rules.reader import see
from rules.state import TIME, RuleState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rules.alarms import Teller
    from rules.batch import Batch
    from rules.compiled import Compiled
    from telemetry.transitions import Transition

FOREVER = 2**63 - 1


def retrospect(
    teller: Teller, compiled: Compiled, memory: RuleState, batch: Batch, late: NDArray[np.bool_], now_ms: int
) -> list[Transition]:
    """Return what the late rows tell; ``memory`` is only read.

    They are read without the rest of the world: what others said then is not kept.
    """
    then = dataclasses.replace(teller, retrospective=True)
    rows = batch.order[late[batch.order]]
    places = np.unique(batch.places[rows])
    scratch = RuleState.new("late", {**compiled.columns, "read": TIME}, len(places))
    if "variant" in compiled.columns:
        scratch.put("variant", slice(None), memory.take("variant", places))
    batch = batch.moved(
        np.searchsorted(places, batch.places)
    )  # right for the late rows, and no other is asked for
    value = np.full(len(places), np.nan)
    found: list[Transition] = []
    for part in in_rounds(rows, batch.frame.index[rows]):
        fresh = part[batch.times[part] > scratch.take("read", batch.places[part])]
        scratch.put("read", batch.places[fresh], batch.times[fresh])
        read = compiled.reader.read(batch, fresh, scratch, None)
        compiled.reader.keep(batch, fresh, scratch)
        known = fresh[read.known]
        value[batch.places[known]] = read.values[read.known]
        seen = see(compiled, scratch, batch, known, read.at(read.known))
        scratch.put("judged", seen.places, seen.times)
        found += then.sweep(scratch, seen, batch.namer(known), now_ms)
    for place, alarm in list(scratch.standing.items()):
        last = int(scratch.columns["judged"][place])
        told = None if np.isnan(value[place]) else float(value[place])
        found.append(end(scratch, Moment(place, alarm.latest.device, last, told, now_ms), alarm))
    return _news(found, memory, dict(zip(batch.frame.devices, batch.device_places.tolist(), strict=True)))


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
