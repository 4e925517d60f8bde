"""The parts of a running centre, as the routes reach them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from command_center.audit import Signer
from command_center.config import CenterConfig
from command_center.data import Data
from command_center.desk import STALE_ASSERTION_MS, Desk
from command_center.feed import Feed
from command_center.flood import Floods
from command_center.heartbeat import Heartbeat
from command_center.hub import Hub
from command_center.incident_view import Reader
from command_center.incidents import Incidents
from command_center.listing import shown
from command_center.people.doors import Doors
from command_center.people.gate import Gate
from command_center.places import Places
from command_center.planner import Planner
from command_center.policies import Told
from command_center.store import Store
from command_center.teller import Teller
from command_center.warner import Warner
from telemetry.clock import Clock
from telemetry.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from command_center.lifecycle import Alarm, Hold


class Center(msgspec.Struct, frozen=True):
    """Built by ``app.py``, handed to every route."""

    config: CenterConfig
    store: Store
    desk: Desk
    data: Data
    feed: Feed
    hub: Hub
    clock: Clock
    signer: Signer
    incidents: Incidents
    reader: Reader
    gate: Gate
    doors: Doors
    places: Places = Places()
    told: Told | None = None
    teller: Teller | None = None
    planner: Planner | None = None
    warner: Warner | None = None
    heartbeat: Heartbeat | None = None
    floods: Floods = msgspec.field(default_factory=Floods)
    faults: Faults | None = None

    def json_of(self, alarm: Alarm) -> dict[str, Any]:
        """Return an alarm as the page and other readers see it now."""
        return alarm_json(alarm, self.desk, self.data, self.clock.now_ms())

    def places_of(self, device: str) -> frozenset[str]:
        """Return where a device is, as a person's areas name it: its site and that site's street.

        Nothing for a device the registry does not know: who has areas then may not touch it.
        """
        site = self.data.device(device).get("site")
        street = self.data.sites.get(site or "", {}).get("street")
        return frozenset(place for place in (site, street) if place)

    def publish(self, alarms: Iterable[Alarm]) -> None:
        """Tell every open page of alarms as they now stand."""
        for alarm in alarms:
            self.hub.publish("alarm", partial(self.json_of, alarm))

    def cameras_near(self, devices: Iterable[str]) -> list[dict[str, Any]]:
        """Return the cameras that see the first of ``devices`` that any sees, the nearest first."""
        for device in devices:
            if found := self.places.cameras_near(self.incidents.ground.place(device)):
                return found
        return []


def alarm_json(alarm: Alarm, desk: Desk, data: Data, now_ms: int) -> dict[str, Any]:
    """Return an alarm as the page and other readers see it."""
    device = data.device(alarm.device)
    asserted = desk.asserted_ms(alarm)
    severity = shown(alarm)
    return {
        "id": alarm.id,
        "version": alarm.version,
        "device": alarm.device,
        "device_name": device.get("name", {"zh": alarm.device, "en": alarm.device}),
        "site": device.get("site"),
        "class": alarm.device_class,
        "rule": alarm.rule,
        "metric": alarm.metric,
        "severity": severity.label.en,
        "level": severity.level,
        "worst": alarm.worst.label.en,
        "category": alarm.category,
        "title": alarm.title,
        "value": alarm.value,
        "limit": alarm.limit,
        "unit": alarm.unit,
        "began_ms": alarm.began_ms,
        "changed_ms": alarm.changed_ms,
        "ended_ms": alarm.ended_ms,
        "received_ms": alarm.received_ms,
        "state": alarm.state,
        "isa": alarm.isa,
        "condition": alarm.condition,
        "suppression": alarm.suppression,
        "hold": _hold_json(alarm.service or alarm.shelf),
        "suppressed_by": alarm.by_design,
        "asks": alarm.asks,
        "assigned_to": alarm.assigned_to,
        "reset_by": alarm.reset_by,
        "repeats": alarm.repeats,
        "chattering": alarm.chattering,
        "acknowledged_by": alarm.acknowledged_by,
        "acknowledged_ms": alarm.acknowledged_ms,
        "comment": alarm.comment,
        "retrospective": alarm.retrospective,
        "shadow": alarm.shadow,
        "because": alarm.because,
        "guidance": alarm.guidance,
        "last_asserted_ms": asserted,
        "stale_assertion": alarm.active and now_ms - asserted > STALE_ASSERTION_MS,
    }


def _hold_json(hold: Hold | None) -> dict[str, Any] | None:
    if hold is None:
        return None
    return {
        "by": hold.by,
        "reason": hold.reason,
        "since_ms": hold.since_ms,
        "until_ms": hold.until_ms,
        "until_resolved": hold.until_resolved,
    }
