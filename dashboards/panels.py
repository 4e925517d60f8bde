"""The kinds of panels that boards are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders.dashboard import DashboardLink, ThresholdsConfig
from grafana_foundation_sdk.builders.dashboard import FieldColor as ColourOf
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as Timeline
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Chart
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

from dashboards.limits import CALM, COLOURS, Step
from dashboards.target import influx, prometheus
from dashboards.units import grafana_unit
from device_profiles.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dashboards.look import Look
    from dashboards.queries import Query
    from device_profiles.vocabulary import Metric
    from telemetry.severity import Severity

NO_LIMITS = (Step(None, None),)
FEW = 240
"""Intervals of a panel that counts devices: each costs a look at every device, and a count needs no finer line."""
PALETTE = ("#5794F2", "#8AB8FF", "#B877D9", "#73BFB8", "#C0A17F", "#9FA7B3")  # no alarm colour among them


def chart(
    look: Look, title: str, queries: Sequence[Query], unit: str = "", *, limits: Sequence[Step] = NO_LIMITS,
    period_s: float = 0.0, width: int = 8, bars: bool = False, note: str = "", most: int = 0,
) -> Chart:  # fmt: skip
    """Return values over time; ``unit`` is ours, ``most`` bounds the intervals, which else are as many as it has pixels.

    A line breaks where nothing came for three periods: a gap is to be seen, and not to be bridged.
    """
    panel = (
        Chart().title(title).description(note).span(width).height(8).unit(grafana_unit(unit))
        .datasource(DataSourceRef(type_val="influxdb", uid=look.influx))
        .color_scheme(ColourOf().mode(FieldColorModeId.PALETTE_CLASSIC))
        .legend(build.VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM)
                .display_mode(common.LegendDisplayMode.LIST))
        .tooltip(build.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .line_width(1).fill_opacity(60 if bars else 0)
        .draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
    )  # fmt: skip
    if most:
        panel.max_data_points(most)
    if bars:
        panel.stacking(build.StackingConfig().mode(common.StackingMode.NORMAL)).min(0)
    if period_s:
        panel.interval(f"{period_s:g}s").span_nulls(int(3000 * period_s))
    if len(limits) > 1:
        panel.thresholds(_thresholds(limits)).thresholds_style(
            build.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED_AND_AREA)
        )
    for place, query in enumerate(queries):
        panel.with_target(influx(look.influx, place, query))
    return panel


def scraped(
    look: Look, title: str, queries: Mapping[str, str], unit: str = "", *, width: int = 8, bars: bool = False,
    note: str = "",
) -> Chart:  # fmt: skip
    """Return what Prometheus has scraped; ``queries`` maps legends to PromQL."""
    panel = chart(look, title, [], unit, width=width, bars=bars, note=note)
    panel.datasource(DataSourceRef(type_val="prometheus", uid=look.prometheus))
    for place, (legend, expression) in enumerate(queries.items()):
        panel.with_target(prometheus(look.prometheus, place, expression, legend))
    return panel


def tile(
    look: Look, title: str, queries: Sequence[Query], *, width: int = 4, url: str = "", note: str = ""
) -> Stat:
    """Return the last number of a line, with the line behind it; a click leads to ``url``."""
    panel = (
        Stat().title(title).description(note).span(width).height(4).unit("none").no_value("—")
        .datasource(DataSourceRef(type_val="influxdb", uid=look.influx))
        .color_scheme(ColourOf().mode(FieldColorModeId.FIXED).fixed_color(CALM))
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(build.ReduceDataOptions().calcs(["lastNotNull"]).values(False)).max_data_points(FEW // 2)
    )  # fmt: skip
    if url:
        panel.data_links([link(look.say("打开看板", "Open the board"), url)])
    for place, query in enumerate(queries):
        panel.with_target(influx(look.influx, place, query))
    return panel


def newest_table(look: Look, title: str, query: Query, *, note: str = "") -> Table:
    """Return a row for each device; columns are dressed by :func:`dress`."""
    hidden = DynamicConfigValue(id_val="custom.hidden", value=True)
    heard = DynamicConfigValue(id_val="unit", value="dateTimeFromNow")
    return (
        Table().title(title).description(note).span(24).height(11).filterable(True)
        .datasource(DataSourceRef(type_val="influxdb", uid=look.influx))
        .with_target(influx(look.influx, 0, query))
        .override_by_name("Time", [hidden])
        .override_by_name(look.say("最近收到", "Heard"), [heard])
    )  # fmt: skip


def timeline(
    look: Look, title: str, queries: Sequence[Query], period_s: float, *, note: str = ""
) -> Timeline:
    """Return codes over time, each a coloured stretch."""
    panel = (
        Timeline().title(title).description(note).span(24).height(max(4, 2 + 2 * len(queries)))
        .datasource(DataSourceRef(type_val="influxdb", uid=look.influx))
        .color_scheme(ColourOf().mode(FieldColorModeId.FIXED).fixed_color(CALM))
        .show_value(common.VisibilityMode.AUTO).merge_values(True).interval(f"{period_s:g}s")
    )  # fmt: skip
    for place, query in enumerate(queries):
        panel.with_target(influx(look.influx, place, query))
    return panel


def dress(
    look: Look, metric: Metric, limits: Sequence[Step], bad: Mapping[int, Severity]
) -> list[DynamicConfigValue]:
    """Return how the column or line of one metric is written: unit, names of codes, colours of its limits."""
    worn = [DynamicConfigValue(id_val="unit", value=grafana_unit(metric.unit))]
    if metric.kind is Kind.STATE:
        worn.append(DynamicConfigValue(id_val="mappings", value=[codes(look, metric, bad)]))
        worn.append(DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}))
    if len(limits) > 1:
        steps = [Threshold(value=step.start, color=step.colour) for step in limits]
        worn.append(DynamicConfigValue(id_val="thresholds", value={"mode": "absolute", "steps": steps}))
        worn.append(DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}))
        worn.append(DynamicConfigValue(id_val="color", value={"mode": "thresholds"}))
    return worn


def codes(look: Look, metric: Metric, bad: Mapping[int, Severity]) -> ValueMap:
    """Return the names of a state's codes, in colour where a rule minds them."""
    results: dict[str, ValueMappingResult] = {}
    for place, (code, text) in enumerate(metric.states.items()):
        colour = COLOURS[bad[code]] if code in bad else (PALETTE[place % len(PALETTE)] if code else CALM)
        results[str(code)] = ValueMappingResult(text=look.pick(text), color=colour, index=place)
    return ValueMap(options=results)


def link(title: str, url: str) -> DashboardLink:
    """Return a link that opens in a tab of its own."""
    return DashboardLink(title).url(url).type(DashboardLinkType.LINK).target_blank(True)


def board_url(uid: str, **variables: str) -> str:
    """Return the way to another board that keeps the time range.

    >>> board_url("yemai-en-site", site="${__data.fields.site}")
    '/d/yemai-en-site?var-site=${__data.fields.site}&${__url_time_range}'
    """
    told = [f"var-{key}={value}" for key, value in variables.items()]
    return f"/d/{uid}?{'&'.join([*told, '${__url_time_range}'])}"


def device_links(look: Look, uid: str) -> list[dict[str, Any]]:
    """Return the links of a device's name in a table: to its board and to the command centre's page."""
    return [
        {"title": look.say("设备看板", "Device board"), "url": board_url(uid, device="${__data.fields.device}")},
        {"title": look.say("指挥中心", "Command centre"), "targetBlank": True,
         "url": "${center}/?device=${__data.fields.device}"},
    ]  # fmt: skip


def _thresholds(limits: Sequence[Step]) -> ThresholdsConfig:
    steps = [
        Threshold(value=step.start, color="transparent" if step.severity is None else step.colour)
        for step in limits
    ]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
