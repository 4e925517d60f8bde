"""Warnings that follow from incidents and drills: issued with the plan, updated when it worsens, cancelled at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from command_center.audit import Act
from command_center.cap import issuing
from command_center.cap.document import Area
from command_center.cap.issuing import Draft, Issuer
from command_center.incidents import note
from command_center.plans import Plan, Plans, Warn
from command_center.tables import incident_alarms as _members
from command_center.tables import runs as _runs
from telemetry.severity import Severity
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.correlation import Place
    from command_center.lifecycle import Alarm


class Warner:
    """A follower of the desk, after the planner and the incidents; ``name_of`` tells a device's name."""

    def __init__(
        self,
        issuer: Issuer,
        plans: Plans,
        place_of: Callable[[str], Place],
        name_of: Callable[[str], Text | None],
    ) -> None:
        self.issuer, self._plans = issuer, {plan.id: plan for plan in plans.plans if plan.warn}
        self._place_of, self._name_of = place_of, name_of

    async def __call__(
        self, db: AsyncConnection, changes: Sequence[tuple[Alarm | None, Alarm]], now_ms: int
    ) -> None:
        """Warn of what has just begun or become worse under a plan that warns."""
        news = {
            after.id: after for before, after in changes
            if after.asks and (before is None or not before.asks or after.worst > before.worst)
        }  # fmt: skip
        if not news or not self._plans:
            return
        rows = await db.execute(
            sa.select(_runs.c.id, _runs.c.plan, _members.c.incident)
            .join(_members, _members.c.alarm == _runs.c.id)
            .where(_runs.c.id.in_(news) & (_runs.c.mode == "live") & _runs.c.plan.in_(self._plans))
        )
        for row in rows.all():
            await self._warn(db, row.incident, news[row.id], self._plans[row.plan], now_ms)

    async def _warn(self, db: AsyncConnection, incident: str, alarm: Alarm, plan: Plan, now: int) -> None:
        chain = await issuing.of(db, incident)
        standing = chain and chain[-1].document.kind != "Cancel"
        if plan.warn is None or (standing and chain[-1].draft.severity >= alarm.worst):
            return
        draft = self.draft(plan, plan.warn, alarm.device, incident, alarm)
        issued = await self.issuer.alert(db, incident, draft, now)
        await self.journal(db, incident, issued, now)

    async def drill(self, db: AsyncConnection, run: str, plan: Plan, device: str, now: int) -> str | None:
        """Issue a plan's warning as an exercise; return its identifier."""
        if plan.warn is None:
            return None
        draft = self.draft(plan, plan.warn, device, "", None)
        return (await self.issuer.alert(db, run, draft, now, status="Exercise")).document.identifier

    async def closed(self, db: AsyncConnection, incident: str, by: str, now: int) -> None:
        """Cancel what stands about an incident that is over."""
        issued = await self.issuer.cancel(db, incident, now, Act(by) if by else None)
        if issued:
            await self.journal(db, incident, issued, now)

    @staticmethod
    async def journal(db: AsyncConnection, incident: str, issued: issuing.Issued, now: int) -> None:
        """Let a message stand in its incident's timeline."""
        told, head = issued.document, issued.draft.headline
        by_zh = f"（{issued.signed_by} 签发）" if issued.signed_by else "（内部）"
        by_en = f" (signed by {issued.signed_by})" if issued.signed_by else " (restricted)"
        kinds = {"Alert": "发布", "Update": "更新", "Cancel": "解除"}
        words = {
            "zh": f"预警{kinds.get(told.kind, told.kind)}{by_zh}：{head.zh}",
            "en": f"warning, {told.kind}{by_en}: {head.en}",
        }
        body = {"identifier": told.identifier, "scope": told.scope, "words": words}
        await note(db, incident, f"cap.{told.kind.lower()}", body, now)

    def draft(self, plan: Plan, warn: Warn, device: str, incident: str, alarm: Alarm | None) -> Draft:
        """Return what a plan warns of at a device; an exercise says so in every line that people read."""
        place, name = self._place_of(device), self._name_of(device) or Text(device, device)
        circle = (
            (place.lat, place.lon, warn.radius_m / 1000)
            if place.lat is not None and place.lon is not None
            else None
        )
        title = alarm.title if alarm else plan.title
        zh, en = ("", "") if alarm else ("【演练】", "[EXERCISE] ")
        near = f"{warn.radius_m:g}"
        return Draft(
            event=Text(f"{zh}{warn.event.zh}", f"{en}{warn.event.en}"),
            headline=Text(f"{zh}{name.zh}{title.zh}", f"{en}{title.en} at {name.en}"),
            description=Text(f"{zh}{name.zh}：{title.zh}", f"{en}{name.en}: {title.en}"),
            instruction=Text(f"{zh}{warn.instruction.zh}", f"{en}{warn.instruction.en}"),
            severity=alarm.worst if alarm else Severity.BLUE, category=str(alarm.category) if alarm else "test",
            areas={"zh": Area(f"{name.zh}周边 {near} 米", circle), "en": Area(f"{near} m around {name.en}", circle)},
            urgency=warn.urgency, certainty=warn.certainty, expires_s=warn.expires_s, response=plan.response, incident=incident,
        )  # fmt: skip
