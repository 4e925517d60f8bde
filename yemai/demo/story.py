"""A scenario told to its end: the operator's part is played, and the incident's one timeline printed as it grows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp

from telemetry.errors import Refused, Unavailable
from yemai.words import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_STEP_S = 0.5
_MOVING = {"requested", "sent", "accepted", "executed"}


class Story:
    """Follows the incident of one device at a running centre; ``tell`` gets each new line."""

    def __init__(self, http: aiohttp.ClientSession, tell: Callable[[str], None]) -> None:
        self._http, self._tell = http, tell
        self._told: set[tuple[Any, ...]] = set()

    async def known(self) -> set[str]:
        """Return the incidents that are there already."""
        return {found["id"] for found in await self._get("/api/incidents?state=all")}

    async def follow(self, before: set[str], devices: Iterable[str], within_s: float) -> dict[str, Any]:
        """Play the operator on the first new incident of one of ``devices``; return it when it is closed.

        Raises :class:`Unavailable` when that takes longer than ``within_s``.
        """
        wanted = set(devices)
        try:
            async with asyncio.timeout(within_s):
                incident = await self._find(before, wanted)
                while incident["state"] != "closed":
                    await self._play(incident)
                    await asyncio.sleep(_STEP_S)
                    incident = await self._look(incident["id"])
        except TimeoutError:
            raise Unavailable(
                say(f"{within_s:g} 秒内没有走到关闭", f"it did not come to its end within {within_s:g} s")
            ) from None
        return incident

    async def _find(self, before: set[str], devices: set[str]) -> dict[str, Any]:
        while True:
            for found in await self._get("/api/incidents?state=open"):
                incident = await self._look(found["id"]) if found["id"] not in before else None
                if incident and devices & {alarm["device"] for alarm in incident["members"]}:
                    return incident
            await asyncio.sleep(_STEP_S)

    async def _play(self, incident: dict[str, Any]) -> None:
        """Do what the operator would: acknowledge when the actions are read back and somebody was told, then the duties."""
        actions = [action["state"] for run in incident["runs"] for action in run["actions"]]
        told = any(moment["kind"] == "notice.delivered" for moment in incident["timeline"])
        if not told or _MOVING & set(actions):
            return
        for alarm in incident["members"]:
            if alarm["acknowledged_by"] is None:
                words = say("已到场核实，无明火", "on the spot, nothing burns")
                await self._post(f"/api/alarms/{alarm['id']}/acknowledge", {"comment": words})
                return
        for run in incident["runs"]:
            for n, task in enumerate(run["checklist"]):
                if task["done"] is None:
                    await self._post(f"/api/tasks/{n}/done/{run['run']}", {})
                    return

    async def _look(self, incident: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._get(f"/api/incidents/{incident}")
        for moment in found["timeline"]:
            key = (moment["kind"], moment["at_ms"], moment["words"]["en"])
            if key not in self._told:
                self._told.add(key)
                self._tell(f"{moment['stage']:16} {say(moment['words']['zh'], moment['words']['en'])}")
        return found

    async def _get(self, path: str) -> Any:
        return await self._ask("GET", path, None)

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        return await self._ask("POST", path, body)

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        try:
            async with self._http.request(method, path, json=body) as answer:
                found = await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"the centre does not answer: {error or 'time-out'}") from None
        if answer.status >= 400:
            words = found.get("error", {}) if isinstance(found, dict) else {}
            raise Refused(say(words.get("zh", str(found)), words.get("en", str(found))))
        return found
