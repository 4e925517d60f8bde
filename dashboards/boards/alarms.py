"""Alarms: how many devices are past each rule's limit, and whether the alarm feed moves.

Alarms themselves have one home, the alarm desk; each panel leads there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import Board, Subject, row, start
from dashboards.boards.device_class import past_limits
from dashboards.panels import FEW, board_url, chart, link, scraped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dashboards.look import Look

_TAGS = ("area", "street", "site")


def boards(look: Look, subjects: Sequence[Subject]) -> Iterator[Board]:
    """Return the alarm board."""
    uid = look.uid("alarms")
    note = look.say(
        "告警的确认、处置与记录在指挥中心；此处是数据对规则阈值的越限情况和告警通道的运行情况。",
        "Alarms are acknowledged and recorded in the command centre; here are the data against the rules' limits, and the feed.",
    )
    board = start(look, uid, look.say("告警", "Alarms"), note=note, places=_TAGS)
    board.with_row(row(look.say("告警通道", "The alarm feed")))
    changes = "sum by (change) (rate(yemai_ingest_alarm_transitions_total[$__rate_interval])) * 60"
    title = look.say("每分钟告警变化", "Changes of alarms per minute")
    board.with_panel(scraped(look, title, {"{{change}}": changes}, width=12, bars=True))
    waiting = {look.say("待确认消息", "waiting"): "sum(yemai_ingest_alarm_messages_waiting)"}
    waiting_title = look.say(
        "指挥中心尚未确认收到的告警消息", "Alarm messages that the centre has not receipted"
    )
    board.with_panel(scraped(look, waiting_title, waiting, width=12))
    board.with_row(row(look.say("越过规则阈值的设备数", "Devices past a rule's limit")))
    for subject in subjects:
        if queries := past_limits(look, subject, _TAGS):
            panel = chart(
                look, look.pick(subject.of.label), queries, period_s=subject.period_s, width=8, most=FEW
            )
            class_board = link(
                look.say("类别看板", "Class board"), board_url(look.uid("class", subject.name))
            )
            centre = link(look.say("指挥中心", "Command centre"), "${center}/")
            board.with_panel(panel.data_links([class_board, centre]))
    yield Board(uid, board)
