"""Warnings of ours, written in the transaction of what they follow from.

::

    plan with ``warn`` ──▶ Alert, Restricted ──a named person signs──▶ Update, Public ──worse──▶ Update, Restricted ──▶ …
    drill              ──▶ Alert, Exercise, Restricted
    over               ──▶ Cancel                                   (each refers to all before it)

Nothing public goes out but in a person's name, not even its cancelling: an incident with a public warning does not
close by itself.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa

from command_center import audit
from command_center.cap.document import Area, Certainty, Document, Info, Status, Urgency, moment, write
from command_center.cap.document import Severity as CapSeverity
from command_center.tables import actions as _actions
from command_center.tables import among
from command_center.tables import incident_alarms as _members
from command_center.tables import warnings as _warnings
from telemetry.errors import Refused
from telemetry.severity import Severity
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from command_center.audit import Act
    from command_center.cap.document import Kind, Scope

_SEVERITY: dict[Severity, CapSeverity] = {
    Severity.RED: "Extreme", Severity.ORANGE: "Severe", Severity.YELLOW: "Moderate", Severity.BLUE: "Minor",
}  # fmt: skip
_CATEGORY = {"fire": "Fire", "tamper": "Security", "warning": "Safety"}
_INTERNAL = {"Actual": "内部使用，未经签发不得对外发布", "Exercise": "演练，不得对外发布"}
_LEVELS = {"I": "特别重大", "II": "重大", "III": "较大", "IV": "一般"}


How = tuple["Kind", "Status", "Scope"]


class Draft(msgspec.Struct, frozen=True):
    """What is to be warned of, in both languages; ``areas`` by language."""

    event: Text
    headline: Text
    description: Text
    instruction: Text
    severity: Severity
    category: str
    areas: dict[str, Area]
    urgency: Urgency = "Immediate"
    certainty: Certainty = "Observed"
    expires_s: float = 86_400.0
    response: str = ""
    incident: str = ""


class Issued(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row's body: the message, what it was made of, and who signed it."""

    document: Document
    draft: Draft
    signed_by: str = ""


class Issuer:
    """``sender`` names the office; ``national`` are the 14 digits of GB/T 35965.1 that its identifiers begin with."""

    def __init__(self, sender: str, name: Text, zone: str, national: str = "", web: str = "") -> None:
        self.sender, self.name, self.national, self.web = sender, name, national, web
        self.zone = ZoneInfo(zone)

    async def alert(
        self, db: AsyncConnection, about: str, draft: Draft, now: int, *, status: Status = "Actual"
    ) -> Issued:
        """Issue a warning to ourselves, or the update of the one that stands about the same."""
        chain = await of(db, about)
        if chain and chain[-1].document.kind != "Cancel":
            how: How = ("Update", chain[-1].document.status, "Restricted")
            return await self._issue(db, about, draft, chain, how, now)
        return await self._issue(db, about, draft, (), ("Alert", status, "Restricted"), now)

    async def sign(self, db: AsyncConnection, identifier: str, act: Act, now: int) -> Issued:
        """Make a warning public in a person's name; KeyError for one that is not there."""
        about, found = await load(db, identifier)
        chain = await of(db, about)
        if found.document.status != "Actual":
            raise Refused(f"what is {found.document.status} is never made public")
        if found.document.kind == "Cancel" or chain[-1].document.identifier != identifier:
            raise Refused(f"it is no more the latest word: {chain[-1].document.identifier}")
        if found.document.scope == "Public":
            raise Refused(f"already signed by {found.signed_by}")
        issued = await self._issue(
            db, about, found.draft, chain, ("Update", "Actual", "Public"), now, signed_by=act.who
        )
        after = {"from": identifier, "headline": found.draft.headline.zh}
        await audit.write(db, now, act, "warning.sign", issued.document.identifier, after=after)
        return issued

    async def cancel(
        self, db: AsyncConnection, about: str, now: int, act: Act | None = None, note: str = ""
    ) -> Issued | None:
        """Cancel what stands about an incident or a drill; None where nothing does, or only a person may."""
        chain = await of(db, about)
        public = is_public(chain)
        if not chain or chain[-1].document.kind == "Cancel" or (public and act is None):
            return None
        how: How = ("Cancel", chain[-1].document.status, "Public" if public else "Restricted")
        issued = await self._issue(
            db, about, chain[-1].draft, chain, how, now, signed_by=act.who if act and public else "",
            note=note or "险情解除 / The danger is over",
        )  # fmt: skip
        if act is not None:
            await audit.write(
                db, now, act, "warning.cancel", issued.document.identifier, after={"note": note}
            )
        return issued

    async def _issue(
        self, db: AsyncConnection, about: str, draft: Draft, chain: Sequence[Issued], how: How, now: int, *, signed_by: str = "", note: str = "",
    ) -> Issued:  # fmt: skip
        kind, status, scope = how
        earliest = max(now // 1000 * 1000, chain[-1].document.sent_ms + 1000 if chain else 0)
        identifier, sent = await self._identifier(db, earliest)
        document = Document(
            identifier, self.sender, sent, status, kind, scope,
            restriction="" if scope == "Public" else _INTERNAL.get(status, status),
            note=note or ("演练 / Exercise" if status == "Exercise" else ""),
            references=tuple(one.document.reference(self.zone) for one in chain), incident=draft.incident,
            infos=self._infos(draft, sent, signed_by),
        )  # fmt: skip
        issued = Issued(document, draft, signed_by)
        values = {
            "id": identifier,
            "about": about,
            "kind": kind,
            "status": status,
            "scope": scope,
            "sent_ms": sent,
        }
        xml = write(document, self.zone)
        await db.execute(_warnings.insert().values(**values, body=msgspec.json.encode(issued), xml=xml))
        return issued

    def _infos(self, draft: Draft, sent: int, signed_by: str) -> tuple[Info, ...]:
        infos = []
        for language, lang in (("zh-CN", "zh"), ("en", "en")):
            parameters = {
                "colour": getattr(draft.severity.label, lang),
                "level": draft.severity.level,
                "class": draft.category,
                **({"response": draft.response} if draft.response else {}),
                **({"signedBy": signed_by} if signed_by else {}),
            }
            level = f"[{draft.severity.level}/{_LEVELS[draft.severity.level]}]" if lang == "zh" else f"[{draft.severity.level}]"  # fmt: skip
            infos.append(
                Info(
                    language, _CATEGORY.get(draft.category, "Infra"), getattr(draft.event, lang), draft.urgency,
                    _SEVERITY[draft.severity], draft.certainty, f"{getattr(draft.headline, lang)}{level}",
                    sent + int(draft.expires_s * 1000), getattr(self.name, lang), getattr(draft.description, lang),
                    getattr(draft.instruction, lang), self.web, parameters, (draft.areas[lang],),
                )
            )  # fmt: skip
        return tuple(infos)

    async def _identifier(self, db: AsyncConnection, sent: int) -> tuple[str, int]:
        """Return an identifier that is not taken, and its second; ten a second are all that the national form holds."""
        while True:
            stamp = "".join(letter for letter in moment(sent, self.zone)[:19] if letter.isdigit())
            if not self.national:
                key = hashlib.sha256(f"{self.sender}{sent}{await _count(db)}".encode()).hexdigest()[:8]
                return f"yemai.{stamp}.{key}", sent
            for serial in range(10):
                identifier = f"{self.national}_{stamp}_{serial}"
                taken = sa.select(_warnings.c.id).where(_warnings.c.id == identifier)
                if (await db.execute(taken)).first() is None:
                    return identifier, sent
            sent += 1000


async def _count(db: AsyncConnection) -> int:
    return int((await db.execute(sa.select(sa.func.count()).select_from(_warnings))).scalar_one())


async def of(db: AsyncConnection, about: str) -> list[Issued]:
    """Return the messages about an incident or a drill since the last that was cancelled began, the oldest first."""
    rows = await db.execute(
        sa.select(_warnings.c.body)
        .where(_warnings.c.about == about)
        .order_by(_warnings.c.sent_ms, _warnings.c.id)
    )
    chain: list[Issued] = []
    for row in rows:
        issued = msgspec.json.decode(row.body, type=Issued)
        chain = [issued] if issued.document.kind == "Alert" else [*chain, issued]
    return chain


def is_public(chain: Sequence[Issued]) -> bool:
    """Return whether the public has been told and has not been told that it is over."""
    return (
        bool(chain)
        and chain[-1].document.kind != "Cancel"
        and any(one.document.scope == "Public" for one in chain)
    )


async def load(db: AsyncConnection, identifier: str) -> tuple[str, Issued]:
    """Return what a message is about, and it; KeyError where there is none."""
    row = (await db.execute(sa.select(_warnings).where(_warnings.c.id == identifier))).first()
    if row is None:
        raise KeyError(identifier)
    return row.about, msgspec.json.decode(row.body, type=Issued)


async def latest(
    db: AsyncConnection,
    *,
    public: bool,
    limit: int = 100,
    identifier: str | None = None,
    devices: Collection[str] | None = None,
) -> list[Any]:
    """Return the rows of the newest messages, or of one; ``public`` for those that everybody may see.

    Of ``devices`` are those about an incident or a drill that one of them has part in.
    """
    query = sa.select(_warnings).order_by(_warnings.c.sent_ms.desc(), _warnings.c.id.desc()).limit(limit)
    if identifier is not None:
        query = query.where(_warnings.c.id == identifier)
    if devices is not None:
        theirs = sa.select(_members.c.incident).where(among(db, _members.c.device, devices))
        drilled = sa.select(_actions.c.run).where(among(db, _actions.c.device, devices))
        query = query.where(_warnings.c.about.in_(theirs) | _warnings.c.about.in_(drilled))
    if public:
        query = query.where((_warnings.c.scope == "Public") & (_warnings.c.status == "Actual"))
    return list((await db.execute(query)).all())


def warning_json(issued: Issued) -> dict[str, Any]:
    """Return a message as the page and other readers see it."""
    document = issued.document
    return {
        "identifier": document.identifier, "kind": document.kind, "status": document.status, "scope": document.scope,
        "sent_ms": document.sent_ms, "references": document.references, "headline": issued.draft.headline,
        "severity": issued.draft.severity.label.en, "signed_by": issued.signed_by or None, "incident": document.incident or None,
    }  # fmt: skip
