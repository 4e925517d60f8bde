"""Pages hear of an incident when what became of it is on the disk."""

import pytest
import sqlalchemy as sa
from desks import opened, take
from sqlalchemy.exc import OperationalError
from test_incidents import DEVICES, began

from command_center.correlation import Windows
from command_center.incidents import Incidents
from command_center.places import Ground, Places
from command_center.tables import incidents
from telemetry.errors import Unavailable


def grouping(on_change):
    ground = Ground(Places(), lambda: DEVICES, Windows())
    return Incidents(Windows(), ground, dict, None, on_change)


async def test_an_incident_is_told_of_when_it_is_on_the_disk_and_at_no_other_time(url, clock):
    told, during = [], []

    async def breaks_first(*_):
        during.append(list(told))
        if len(during) == 1:
            raise OperationalError("INSERT", None, Exception("disk I/O error"))

    async with opened(url, clock, followers=[grouping(told.append), breaks_first]) as desk:
        with pytest.raises(Unavailable):
            await take(desk, began())
        assert told == []
        await take(desk, began(rule="q"), began("far", rule="q"))
    assert during == [[], []]
    assert told == [{f"inc-{began(rule='q').alarm}", f"inc-{began('far', rule='q').alarm}"}]


async def test_an_incident_that_cannot_be_told_of_is_on_the_disk_all_the_same(url, clock):
    def breaks(changed):
        raise KeyError(*changed)

    async with opened(url, clock, followers=[grouping(breaks)]) as desk:
        assert [one.device for one in await take(desk, began())] == ["d"]
        async with desk.store.read() as db:
            assert len((await db.execute(sa.select(incidents))).all()) == 1
