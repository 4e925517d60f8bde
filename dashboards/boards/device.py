"""One device at a time: its values, those that are in doubt beside them, why they are, and its clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, ValueMap, ValueMappingResult

from dashboards.board import Board, Subject, row, start
from dashboards.boards.device_class import latest
from dashboards.limits import CALM, COLOURS
from dashboards.panels import PALETTE, chart, codes, timeline
from dashboards.queries import Query, columns, name, where
from dashboards.target import influx
from device_profiles.vocabulary import Kind
from telemetry.quality import Quality
from telemetry.severity import Severity
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from grafana_foundation_sdk.builders.statetimeline import Panel as Timeline
    from grafana_foundation_sdk.builders.timeseries import Panel as Chart

    from dashboards.look import Look
    from device_profiles.vocabulary import Metric

_TAGS = ("device",)
QUALITIES = {
    Quality.IMPLAUSIBLE: Text("超出合理范围", "implausible"),
    Quality.WARMING_UP: Text("预热中", "warming up"),
    Quality.CLOCK_SUSPECT: Text("时钟可疑", "clock suspect"),
    Quality.STUCK: Text("卡滞", "stuck"),
    Quality.NO_ANSWER: Text("无应答", "no answer"),
    Quality.DEVICE_FAULT: Text("设备自报故障", "device fault"),
    Quality.REFUSED: Text("设备拒绝", "refused"),
    Quality.MALFORMED: Text("报文损坏", "malformed"),
    Quality.LINK_DOWN: Text("链路中断", "link down"),
}


def boards(look: Look, subjects: Sequence[Subject]) -> Iterator[Board]:
    """Return a device board for each class."""
    for subject in subjects:
        uid = look.uid("device", subject.name)
        title = look.say(f"{subject.of.label.zh} · 单台设备", f"{subject.of.label.en} · one device")
        note = look.say(
            "良好值为实线；带疑问的原始值（超范围、卡滞、时钟可疑）为散点，不参与告警判断。",
            "Good values are lines; raw values in doubt (implausible, stuck, clock suspect) are points, and no rule judges them.",
        )
        board = start(look, uid, title, note=note, places=_TAGS, single="device", measurement=subject.name)
        board.with_panel(latest(look, subject, _TAGS).height(5))
        board.with_row(row(look.say("量值", "Values")))
        for metric in subject.kinds(Kind.GAUGE, Kind.COUNTER):
            board.with_panel(_values(look, subject, metric))
        if states := subject.kinds(Kind.STATE, Kind.BITS):
            board.with_row(row(look.say("状态", "States")))
            for metric in states:
                board.with_panel(_states(look, subject, metric))
        board.with_row(row(look.say("数据质量", "Data quality")))
        board.with_panel(_quality(look, subject)).with_panel(_arrivals(look, subject))
        board.with_panel(_clock(look, subject))
        yield Board(uid, board)


def _values(look: Look, subject: Subject, metric: Metric) -> Chart:
    good, doubt = look.say("良好", "good"), look.say("存疑原始值", "raw, in doubt")
    wanted = {good: ("mean", metric.name), doubt: ("mean", f"{metric.name}__u")}
    panel = chart(
        look, look.pick(metric.label), [columns(subject.name, wanted, tags=_TAGS)], metric.unit,
        limits=subject.steps(metric), period_s=subject.period_s,
    )  # fmt: skip
    points = [
        DynamicConfigValue(id_val="custom.drawStyle", value="points"),
        DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": PALETTE[2]}),
    ]
    return panel.override_by_name(doubt, points)


def _states(look: Look, subject: Subject, metric: Metric) -> Timeline:
    title = look.pick(metric.label)
    query = columns(subject.name, {title: ("last", metric.name)}, tags=_TAGS)
    panel = timeline(look, title, [query], subject.period_s)
    if metric.kind is Kind.STATE:
        panel.mappings([codes(look, metric, subject.bad_codes(metric))])
    else:
        flags = [f"{bit}: {look.pick(text)}" for bit, text in metric.bits.items()]
        panel.description(look.say("按位：", "Bits: ") + "; ".join(flags))
    return panel


def _quality(look: Look, subject: Subject) -> Timeline:
    wanted = {look.pick(m.label): ("max", f"{m.name}__q") for m in subject.of.metrics.values()}
    query = columns(subject.name, wanted, fill="none", tags=_TAGS)
    mapping = {
        str(code.value): ValueMappingResult(
            text=look.pick(text), color=COLOURS[Severity.ORANGE] if code.is_bad else CALM, index=place
        )
        for place, (code, text) in enumerate(QUALITIES.items())
    }
    title, note = look.say("不良原因", "Why samples are not good"), look.say("空白即良好", "Empty means good")
    panel = timeline(look, title, [query], subject.period_s, note=note)
    return panel.mappings([ValueMap(options=mapping)]).height(10)


def _arrivals(look: Look, subject: Subject) -> Chart:
    title = look.say("上报次数", "Reports per interval")
    query = columns(subject.name, {title: ("count", "upload")}, fill="0", tags=_TAGS)
    return chart(look, title, [query], period_s=subject.period_s, bars=True, width=12)


def _clock(look: Look, subject: Subject) -> Chart:
    raw, received = look.say("设备原始时间", "raw time"), look.say("平台收到", "received")
    query = Query(
        f'SELECT "raw_time" AS {name(raw)}, "received" AS {name(received)} FROM {name(subject.name)} '
        f'WHERE {where(_TAGS)} AND "raw_time" > 0',
        "$col",
    )
    corrected = chart(
        look, look.say("校正过的时间", "Corrected times"), [], width=12,
        note=look.say(
            "横轴为校正后的时间，纵轴为设备原始时间；空白即未校正",
            "Across: the corrected time, up: what the device's clock said; empty means that nothing was corrected",
        ),
    )  # fmt: skip
    return corrected.unit("dateTimeAsIso").with_target(influx(look.influx, 0, query))
