"""The district at a glance: which classes are heard of, where something is past a limit, who has fallen silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue

from dashboards.board import Board, Subject, row, start
from dashboards.boards.device_class import past_limits
from dashboards.panels import FEW, board_url, chart, newest_table, tile
from dashboards.queries import devices_heard, newest
from dashboards.target import influx
from telemetry.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from grafana_foundation_sdk.builders.table import Panel as Table

    from dashboards.look import Look

_TAGS = ("area", "street", "site")
_PERIOD_S = 60.0


def boards(look: Look, subjects: Sequence[Subject]) -> Iterator[Board]:
    """Return the overview."""
    uid = look.uid("overview")
    note = look.say("点按类别进入其看板。", "A click on a class opens its board.")
    board = start(look, uid, look.say("城区总览", "District overview"), note=note, places=_TAGS)
    heard_note = look.say("每个时间间隔内有上报的设备数", "Devices heard in each interval")
    board.with_row(row(look.say("有上报的设备数", "Devices heard")))
    for subject in subjects:
        title = look.pick(subject.of.label)
        url = board_url(look.uid("class", subject.name))
        query = devices_heard(subject.name, title, tags=_TAGS)
        board.with_panel(
            tile(look, title, [query], url=url, note=heard_note, width=3).interval(
                f"{max(_PERIOD_S, subject.period_s):g}s"
            )
        )
    board.with_row(row(look.say("阈值", "Limits")))  # below the tiles, however many there are
    grave = [
        query for subject in subjects for query in past_limits(look, subject, _TAGS, least=Severity.ORANGE)
    ]
    title = look.say("越过橙色或红色阈值的设备数", "Devices past an orange or red limit")
    board.with_panel(chart(look, title, grave, period_s=_PERIOD_S, width=24, most=FEW))
    board.with_row(row(look.say("各站点", "Sites")))
    board.with_panel(_sites(look, subjects))
    yield Board(uid, board)


def _sites(look: Look, subjects: Sequence[Subject]) -> Table:
    """Return when each class was last heard of at each site: a row for each site, a column for each class."""
    first, *others = [
        newest(subject.name, {look.pick(subject.of.label): "received"}, ["site"], tags=_TAGS)
        for subject in subjects
    ]
    note = look.say(
        "空白：该站点在所选时段内没有此类设备的数据",
        "Empty: nothing of that class from that site within the range",
    )
    table = newest_table(look, look.say("各站点最近收到", "Last heard, by site"), first, note=note)
    for place, query in enumerate(others, 1):
        table.with_target(influx(look.influx, place, query))
    table.with_transformation(
        DataTransformerConfig(id_val="joinByField", options={"byField": "site", "mode": "outer"})
    )
    table.unit("dateTimeFromNow").override_by_field_type(
        "time", [DynamicConfigValue(id_val="custom.hidden", value=True)]
    )
    link = {
        "title": look.say("站点看板", "Site board"),
        "url": board_url(look.uid("site"), site="${__data.fields.site}"),
    }
    return table.override_by_name("site", [DynamicConfigValue(id_val="links", value=[link])])
