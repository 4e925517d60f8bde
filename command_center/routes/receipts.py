"""What vendors report later of messages they accepted, and keys that people pressed."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

import msgspec
from fastapi import Request
from fastapi.responses import Response

from command_center.answers import Missing, as_error, as_json
from command_center.audit import Act
from command_center.deeds import Deed
from command_center.openapi import answers
from command_center.people.rights import needs
from command_center.shapes.desk import Taken
from telemetry.errors import Refused

if TYPE_CHECKING:
    from fastapi import FastAPI

    from command_center.center import Center

_MOST_BYTES = 1 << 20


def add(api: FastAPI, center: Center) -> None:
    """Add the routes."""

    @api.post(
        "/api/receipts/{channel}/{token}",
        summary="A vendor's later reports",
        dependencies=[needs("open", counted=False)],
    )
    @answers(Taken, also=(429,))
    async def post_receipts(channel: str, token: str, request: Request) -> Response:
        told, teller = center.told, center.teller
        wanted = told.setup.receipt_token if told else None
        kind = told.kinds.get(channel) if told else None
        known = wanted is not None and hmac.compare_digest(wanted.reveal().encode(), token.encode())
        if not known or teller is None or told is None or kind is None or not hasattr(kind, "reports"):
            center.gate.count_unknown(request)
            raise Missing("没有这个地址", "there is no such address")
        raw = await request.body()
        try:
            body = msgspec.json.decode(raw[:_MOST_BYTES])
        except msgspec.DecodeError:
            return as_error(422, "不是 JSON", "no JSON")
        for alarm, person in await teller.report(channel, kind.reports(body)):
            name = told.setup.people[person].name.zh
            try:
                changed = await center.desk.do(
                    alarm, Deed("acknowledge", f"按键确认 · {channel}"), Act(name, channel)
                )
            except (KeyError, Refused):
                continue  # somebody was first
            center.publish(changed)
        return as_json({"code": 0, "msg": "成功"})
