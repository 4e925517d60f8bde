"""The edge fleet: which agents are connected, how long their buffers last, what their links are worth.

Agents tell their figures in their status, ingest hands them on at ``/metrics``; batteries and radio of the
NB-IoT devices come from the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.board import Board, Subject, row, start
from dashboards.panels import chart, scraped
from dashboards.queries import lines_by
from device_profiles.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dashboards.look import Look

_TAGS = ("area", "street", "site")
_TELL_OF_THE_LINK = ("signal", "battery")


def boards(look: Look, subjects: Sequence[Subject]) -> Iterator[Board]:
    """Return the fleet board."""
    uid = look.uid("fleet")
    note = look.say("边缘代理每分钟上报自身状态。", "Agents tell of themselves each minute.")
    board = start(look, uid, look.say("边缘代理", "Edge fleet"), note=note, places=_TAGS)
    figure = "yemai_agent_figure"
    for title, queries, unit in (
        (look.say("在线", "Connected"), {"{{agent}}": "max by (agent) (yemai_agent_online)"}, ""),
        (
            look.say("缓存还能撑多久", "The buffer lasts another"),
            {"{{agent}}": f'min by (agent) ({figure}{{name="buffer_lasts_s"}})'},
            "s",
        ),
        (
            look.say("缓存占用", "Buffered"),
            {"{{agent}}": f'max by (agent) ({figure}{{name="outbox_bytes"}})'},
            "B",
        ),
        (
            look.say("总线占用率", "Bus utilisation"),
            {"{{agent}} {{name}}": f'{figure}{{name=~"bus_.*utilisation.*"}} * 100'},
            "%",
        ),
        (look.say("上行信号", "Uplink signal"), {"{{agent}}": f'{figure}{{name="signal_dbm"}}'}, "dBm"),
        (
            look.say("证书剩余天数", "Days the certificate is good for"),
            {"{{agent}}": f'{figure}{{name="certificate_days"}}'},
            "",
        ),
        (look.say("磁盘已用", "Disk used"), {"{{agent}}": f'{figure}{{name="disk_used"}}'}, "%"),
        (look.say("无应答设备", "Silent devices"), {"{{agent}}": f'{figure}{{name="devices_silent"}}'}, ""),
    ):
        panel = scraped(look, title, queries, "" if unit == "B" else unit)
        board.with_panel(panel.unit("bytes") if unit == "B" else panel)
    board.with_row(row(look.say("电池供电设备", "Devices on batteries")))
    for subject in subjects:
        for metric in subject.kinds(Kind.GAUGE):
            if metric.name.startswith(_TELL_OF_THE_LINK):
                query = lines_by(subject.name, ("min", metric.name), "device", tags=_TAGS)
                title = f"{look.pick(subject.of.label)} · {look.pick(metric.label)}"
                board.with_panel(
                    chart(
                        look, title, [query], metric.unit, limits=subject.steps(metric), period_s=subject.period_s
                    )
                )  # fmt: skip
    yield Board(uid, board)
