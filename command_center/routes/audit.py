"""The audit trail: read it, and have it verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import Query
from fastapi.responses import Response

from command_center import audit
from command_center.answers import as_json
from command_center.openapi import answers
from command_center.people.rights import needs
from command_center.shapes.desk import AuditEntry, Verified

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""

    @api.get("/api/audit", summary="Who did what, newest first", dependencies=[needs("audit.read")])
    @answers(list[AuditEntry])
    async def get_audit(
        before_seq: Annotated[int, Query(ge=1, le=1 << 62)] | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> Response:
        async with center.store.read() as db:
            return as_json(await audit.read(db, before_seq=before_seq, limit=limit))

    @api.get(
        "/api/audit/checkpoint",
        summary="The chain as it stands, signed: keep it elsewhere",
        dependencies=[needs("audit.read")],
    )
    @answers(audit.Checkpoint)
    async def get_checkpoint() -> Response:
        async with center.store.read() as db:
            return as_json(center.signer.sign(await audit.head(db, center.clock.now_ms())))

    @api.get(
        "/api/audit/verify",
        summary="Whether the chain is whole, against the checkpoints on this machine",
        dependencies=[needs("audit.read")],
    )
    @answers(Verified)
    async def get_verify() -> Response:
        file = center.config.audit.checkpoints
        known = audit.read_checkpoints(file) if file and file.exists() else []
        async with center.store.read() as db:
            findings = await audit.verify(db, known, center.signer.public)
            head = await audit.head(db, center.clock.now_ms())
        return as_json(
            {"whole": not findings, "entries": head.count, "checkpoints": len(known), "findings": findings}
        )
