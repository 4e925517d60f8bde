"""What a person with areas may see: the devices in them, and whatever hangs on these devices.

One place for all routes.  Every id in a path is looked up here before its route runs (``_OBJECTS``; an id that nobody
knows how to look up keeps the centre from starting); lists ask ``devices_of`` and select by it; the stream is filtered
by the same set.  Who has no areas sees the whole district, and none of this costs him anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from command_center import holds, runs
from command_center.answers import Denied
from command_center.cap import issuing
from command_center.people.rights import Person, needed, outside, person_of
from command_center.tables import actions, alarms, incident_alarms

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fastapi import FastAPI, Request
    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.center import Center

Found = set[str] | None
"""The devices that an object hangs on; None where there is no such object, or it hangs on none."""
_NO_OBJECTS = frozenset({"plan", "path", "task"})
"""What may stand in a path and is no object of a place; ``path`` is judged by its route."""
_APART = frozenset({"open", "self", "people.admin", "audit.read"})
"""Rights whose objects lie in no area: people and the audit trail are the whole district's."""


class Sight:
    """Of one centre."""

    def __init__(self, center: Center) -> None:
        self._center = center
        self._seen: dict[tuple[str, ...], frozenset[str]] = {}
        self._by: tuple[object, object] = None, None

    def devices_of(self, person: Person) -> frozenset[str] | None:
        """Return the devices that a person may see, the same set until it changes; None for all there are.

        Raises :class:`Denied` (503) while the registry is not known, for then nobody can tell: an empty list of alarms
        would be a lie.
        """
        if not person.areas:
            return None
        data = self._center.data
        if not data.devices:
            raise Denied(
                503, "设备台账尚未就绪，无法判定您的管辖范围，请稍后再试",
                "the registry is not known yet, so nothing can tell what lies in your areas; try again soon",
                reason="registry", after_s=5,
            )  # fmt: skip
        if self._by[0] is not data.devices or self._by[1] is not data.sites:
            self._by = data.devices, data.sites
            for areas, old in self._seen.items():
                fresh = self._within(areas)
                self._seen[areas] = old if old == fresh else fresh
        if person.areas not in self._seen:
            self._seen[person.areas] = self._within(person.areas)
        return self._seen[person.areas]

    async def check(self, person: Person, params: Mapping[str, Any]) -> None:
        """Raise :class:`Denied` for the id of something outside a person's areas."""
        named = [(name, str(value)) for name, value in params.items() if name in _OBJECTS]
        seen = self.devices_of(person) if named else None
        if seen is None:
            return
        async with self._center.store.read() as db:
            for name, value in named:
                devices = await _OBJECTS[name](db, value)
                if devices is not None and seen.isdisjoint(devices):
                    raise outside(person)

    def _within(self, areas: tuple[str, ...]) -> frozenset[str]:
        wanted = set(areas)
        return frozenset(
            device for device in self._center.data.devices if not wanted.isdisjoint(self._center.places_of(device))
        )  # fmt: skip


def seen_by(request: Request) -> frozenset[str] | None:
    """Return the devices that who asks may see; None for all."""
    sight: Sight = request.app.state.sight
    return sight.devices_of(person_of(request))


def check_routes(api: FastAPI) -> None:
    """Raise LookupError when a path names something that nobody knows how to look up."""
    silent = sorted(
        f"{route.path}: {{{name}}}"
        for route, need in needed(api)
        if need is not None and need.right not in _APART
        for name in route.param_convertors
        if name not in {*_OBJECTS, *_NO_OBJECTS}
    )
    if silent:
        raise LookupError(f"people/sight.py does not know where these lie: {', '.join(silent)}")


def visible(kind: str, content: Any, seen: frozenset[str]) -> Any:
    """Return what of a stream's event may be seen, None for nothing.

    Ids of alarms, runs and incidents alone say nothing: they are hashes, and asking for one is refused.
    """
    if kind == "alarm":
        return content if content["device"] in seen else None
    if kind == "latest":
        return [row for row in content if row["device"] in seen] or None
    return content


async def _of_device(_: AsyncConnection, key: str) -> Found:
    return {key}


async def _of_alarm(db: AsyncConnection, key: str) -> Found:
    found = await db.execute(sa.select(alarms.c.device).where(alarms.c.id == key))
    return set(found.scalars()) or None


async def _of_incident(db: AsyncConnection, key: str) -> Found:
    query = sa.select(incident_alarms.c.device).where(incident_alarms.c.incident == key)
    return set((await db.execute(query)).scalars()) or None


async def _of_run(db: AsyncConnection, key: str) -> Found:
    ordered = await db.execute(sa.select(actions.c.device).where(actions.c.run == key))
    return await _of_alarm(db, key) or set(ordered.scalars()) or None  # a drill has no alarm


async def _of_action(db: AsyncConnection, key: str) -> Found:
    try:
        return {await runs.device_of(db, key)}
    except KeyError:
        return None


async def _of_hold(db: AsyncConnection, key: str) -> Found:
    return {one["device"] for one in await holds.standing(db) if one["id"] == key} or None


async def _of_warning(db: AsyncConnection, key: str) -> Found:
    try:
        about, _ = await issuing.load(db, key)
    except KeyError:
        return None
    return await (_of_run if about.startswith("drill/") else _of_incident)(db, about)


_OBJECTS: dict[str, Callable[[AsyncConnection, str], Awaitable[Found]]] = {
    "device": _of_device,
    "alarm": _of_alarm,
    "incident": _of_incident,
    "run": _of_run,
    "action": _of_action,
    "hold": _of_hold,
    "identifier": _of_warning,
}
