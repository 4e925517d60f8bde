"""How ``yemai edge status`` shows an agent on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from telemetry.quality import Quality
from yemai.words import say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edge_agent.status import BusNow, DeviceNow, OutboxNow, Snapshot, UplinkNow

_SHOWN_VALUES = 6


def view(now: Snapshot) -> RenderableType:
    """Return the whole view of one moment."""
    head = Text.assemble(
        (now.agent, "bold"),
        f"  {now.area}  {say('运行', 'up')} {span(now.running_s)}  boot {now.boot}  {now.version}",
    )
    return Group(
        head, _uplink(now.uplink), _outbox(now.outbox), _config(now), *(_bus(bus) for bus in now.buses)
    )


def span(seconds: float | None) -> str:
    """Return a duration in the largest unit that fits.

    >>> span(3.2), span(812_000), span(None)
    ('3.2 s', '9.4 d', '?')
    """
    if seconds is None:
        return "?"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float | None) -> str:
    """Return bytes in the largest unit that fits.

    >>> size(812), size(268_435_456)
    ('812 B', '256.0 MiB')
    """
    if count is None:
        return "?"
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count:.0f} B"


def _uplink(way: UplinkNow) -> Text:
    state = (say("已连接", "up"), "green") if way.up else (say("断开", "down"), "red")
    parts: list[str | tuple[str, str]] = [say("上行 ", "uplink "), f"{way.kind} → {way.to}  ", state]
    if way.problem and not way.up:
        parts.append(f"  {way.problem}")
    parts += [f"  {name} {value:g}" for name, value in way.metrics.items()]
    if way.budget_left is not None:
        parts.append(
            say(f"  今日余量 {size(way.budget_left)}", f"  {size(way.budget_left)} of today's budget left")
        )
    return Text.assemble(*parts)


def _outbox(box: OutboxNow) -> Text:
    told = box.counters
    parts: list[str | tuple[str, str]] = [
        say(
            f"缓存 {told.messages} 条 {size(told.bytes)} / {size(box.limit_bytes)}，可再存 {span(box.lasts_s)}",
            f"outbox {told.messages} messages, {size(told.bytes)} of {size(box.limit_bytes)}; "
            f"lasts {span(box.lasts_s)} more",
        ),
        f"\n  made {told.made} = freed {told.freed} + queued {told.queued} + dropped {sum(told.dropped.values())}",
    ]
    if told.not_reported:
        parts.append(f"; not reported {sum(told.not_reported.values())}")
    if told.dropped:
        causes = ", ".join(f"{cause} {count}" for cause, count in told.dropped.items())
        parts.append((f"\n  dropped: {causes}", "yellow"))
    if box.history_eta_s is not None:
        parts.append(
            say(
                f"\n  补传剩余 {span(box.history_eta_s)}", f"\n  history is sent in {span(box.history_eta_s)}"
            )
        )
    if box.trouble:
        parts.append(
            (f"\n  {box.trouble}; {box.in_memory} " + say("条读数在内存中", "readings in memory"), "red")
        )
    return Text.assemble(*parts)


def _config(now: Snapshot) -> Text:
    state = now.config
    running = state.running or say("本地文件", "the file on disk")
    text = Text(say(f"配置 {running}", f"configuration {running}"))
    if state.wanted and state.state != "in_force":
        text.append(f"  {state.wanted}: {state.state} {state.error}", "yellow")
    return text


def _bus(bus: BusNow) -> Table:
    table = Table(title=f"{bus.id} · {bus.driver} · {bus.period_s:g} s", title_justify="left", expand=True)
    for head in (
        say("设备", "device"),
        say("型号", "profile"),
        say("多久前", "age"),
        say("质量", "quality"),
        "",
    ):
        table.add_column(head)
    for device in bus.devices:
        table.add_row(*_row(device, bus.period_s))
    return table


def _row(device: DeviceNow, period_s: float) -> tuple[str | Text, ...]:
    if device.age_s is None:
        return device.id, device.profile, "-", Text(say("尚无读数", "nothing yet"), "yellow"), ""
    late = device.age_s > 2.5 * period_s
    quality = "" if device.quality == "good" else device.quality
    bad = quality and Quality[quality.upper()].is_bad
    values = [f"{name} {value:g}" for name, value in device.values.items() if value is not None]
    more = f" +{len(values) - _SHOWN_VALUES}" if len(values) > _SHOWN_VALUES else ""
    return (
        device.id,
        device.profile,
        Text(span(device.age_s), "red" if late else ""),
        Text(quality or "good", "red" if bad else "yellow" if quality else "green"),
        "  ".join(values[:_SHOWN_VALUES]) + more,
    )
