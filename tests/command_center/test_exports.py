"""Who took the deliveries of a span away stands in the audit trail."""

import hashlib

from command_center import audit

SPAN = "since_ms=1&until_ms=86400001"


async def entries(world):
    async with world.center.store.read() as db:
        return [one for one in await audit.read(db) if one["what"] == "deliveries.export"]


async def test_who_takes_deliveries_away_is_on_the_trail_with_the_span_and_the_tables_hash(world):
    table = await world.ask("GET", f"/api/deliveries.csv?{SPAN}", "auditor")
    signed = await world.ask("GET", f"/api/deliveries.signed?{SPAN}", "auditor")
    assert (table.status_code, signed.status_code) == (200, 200)
    assert signed.json()["csv"].encode() == table.content
    after, before = await entries(world)
    assert (before["who"], before["address"]) == ("姓名 auditor", "10.0.0.1")
    told = {"since_ms": 1, "until_ms": 86_400_001, "rows": 0, "whole": True}
    told["sha256"] = hashlib.sha256(table.content).hexdigest()
    assert before["after"] == {"form": "csv", **told}
    assert after["after"] == {"form": "signed", **told}


async def test_who_may_not_see_them_or_asks_for_no_span_leaves_no_entry(world):
    assert (await world.ask("GET", f"/api/deliveries.csv?{SPAN}", "wall")).status_code == 403
    assert (await world.ask("GET", "/api/deliveries.csv?since_ms=2&until_ms=1", "auditor")).status_code == 422
    assert await entries(world) == []
