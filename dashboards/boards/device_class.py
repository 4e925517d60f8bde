"""One board for each class: what all its devices say, with the limits that its rule pack sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from dashboards.board import Board, Subject, per_metric, row, start
from dashboards.limits import SIGNS, limited
from dashboards.panels import FEW, chart, device_links, dress, newest_table
from dashboards.queries import PLACE_TAGS, columns, consumed, devices_heard, devices_where, newest
from device_profiles.vocabulary import Kind
from telemetry.severity import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from grafana_foundation_sdk.builders.dashboard import Dashboard
    from grafana_foundation_sdk.builders.table import Panel as Table
    from grafana_foundation_sdk.builders.timeseries import Panel as Chart

    from dashboards.look import Look
    from dashboards.queries import Query
    from device_profiles.vocabulary import Metric


def boards(look: Look, subjects: Sequence[Subject]) -> Iterator[Board]:
    """Return a board for each class."""
    for subject in subjects:
        uid = look.uid("class", subject.name)
        note = look.say(
            "由设备类别与规则包生成；阈值取自规则包。极值与均值跨所选设备。",
            "Generated from the device class and its rule pack, which sets the limits. Extremes and means are over the "
            "chosen devices.",
        )
        board = start(look, uid, look.pick(subject.of.label), note=note, measurement=subject.name)
        _fill(look, subject, board)
        yield Board(uid, board)


def _fill(look: Look, subject: Subject, board: Dashboard) -> None:
    board.with_panel(latest(look, subject))
    board.with_row(row(look.say("是否有数据", "Is there data")))
    board.with_panel(heard(look, subject)).with_panel(not_good(look, subject))
    if past := _past_limits(look, subject):
        board.with_panel(past)
    board.with_row(row(look.say("量值", "Values")))
    for metric in subject.kinds(Kind.GAUGE):
        board.with_panel(_spread(look, subject, metric))
    for metric in subject.kinds(Kind.COUNTER):
        title = look.say(f"{metric.label.zh}（每间隔增量）", f"{metric.label.en}, per interval")
        query = consumed(subject.name, metric.name, look.pick(metric.label))
        board.with_panel(
            chart(look, title, [query], metric.unit, period_s=subject.period_s, bars=True, most=FEW)
        )
    if states := subject.kinds(Kind.STATE, Kind.BITS):
        board.with_row(row(look.say("状态", "States")))
        for metric in states:
            board.with_panel(_in_state(look, subject, metric))


def latest(look: Look, subject: Subject, tags: Sequence[str] = PLACE_TAGS) -> Table:
    """Return the table of the newest values, a row for each device."""
    metrics = list(subject.of.metrics.values())
    heard_title = look.say("最近收到", "Heard")
    query = newest(
        subject.name, {**per_metric(metrics, look), heard_title: "received"}, ["device", "site"], tags=tags
    )
    note = look.say("各设备在所选时段内的最新良好值", "The newest good value of each device within the range")
    table = newest_table(look, look.say("最新值", "Newest values"), query, note=note)
    for metric in metrics:
        table.override_by_name(
            look.pick(metric.label), dress(look, metric, subject.steps(metric), subject.bad_codes(metric))
        )
    return table.override_by_name("device", links_of(look, subject))


def links_of(look: Look, subject: Subject) -> list[DynamicConfigValue]:
    """Return what a click on a device's name offers."""
    return [DynamicConfigValue(id_val="links", value=device_links(look, look.uid("device", subject.name)))]


def heard(look: Look, subject: Subject) -> Chart:
    """Return how many devices were heard of."""
    title = look.say("有上报的设备数", "Devices heard")
    note = look.say("下凹即为缺口", "A dip is a gap")
    return chart(
        look, title, [devices_heard(subject.name, title)], period_s=subject.period_s, note=note, most=FEW
    )


def not_good(look: Look, subject: Subject, tags: Sequence[str] = PLACE_TAGS) -> Chart:
    """Return how many samples were not good, by metric."""
    wanted = {look.pick(m.label): ("count", f"{m.name}__q") for m in subject.of.metrics.values()}
    return chart(
        look, look.say("不良样本数", "Samples that are not good"), [columns(subject.name, wanted, fill="0", tags=tags)],
        period_s=subject.period_s, bars=True,
        note=look.say("无应答、超量程、卡滞等；为零即全部良好", "No answer, implausible, stuck and the like; empty means all good"),
    )  # fmt: skip


def _past_limits(look: Look, subject: Subject) -> Chart | None:
    queries = past_limits(look, subject)
    if not queries:
        return None
    return chart(
        look, look.say("越限设备数", "Devices past a limit"), queries, period_s=subject.period_s, most=FEW,
        note=look.say("按规则的最低一级阈值；持续时间与迟滞由规则判断", "By the mildest limit of each rule; duration and hysteresis are the rule's"),
    )  # fmt: skip


def past_limits(
    look: Look, subject: Subject, tags: Sequence[str] = PLACE_TAGS, *, least: Severity = Severity.BLUE
) -> list[Query]:
    """Return for each rule with fixed limits how many devices are past the mildest one from ``least`` on."""
    found = []
    for metric in subject.of.metrics:
        for rule in limited(subject.rules, metric):
            limits = [limit for severity, limit in rule.limits.items() if severity >= least]
            if not limits:
                continue
            extreme = "min" if rule.way in ("below", "at_most") else "max"
            how = "last" if rule.way == "equals" else extreme
            condition = f"{SIGNS[rule.way]} {limits[0]:.10g}"
            found.append(
                devices_where(subject.name, (how, metric), condition, look.pick(rule.title), tags=tags)
            )
    return found


def _spread(look: Look, subject: Subject, metric: Metric) -> Chart:
    wanted = {
        look.say("最大", "max"): ("max", metric.name),
        look.say("平均", "mean"): ("mean", metric.name),
        look.say("最小", "min"): ("min", metric.name),
    }
    return chart(
        look, look.pick(metric.label), [columns(subject.name, wanted)], metric.unit,
        limits=subject.steps(metric), period_s=subject.period_s,
    )  # fmt: skip


def _in_state(look: Look, subject: Subject, metric: Metric) -> Chart:
    what = ("last", metric.name)
    if metric.kind is Kind.BITS:
        queries = [devices_where(subject.name, what, "> 0", look.say("有标志置位", "any flag set"))]
    else:
        queries = [
            devices_where(subject.name, what, f"= {code}", look.pick(text))
            for code, text in metric.states.items()
        ]
    title = look.say(f"{metric.label.zh}（设备数）", f"{metric.label.en}, devices")
    return chart(look, title, queries, period_s=subject.period_s, bars=True, most=FEW)
