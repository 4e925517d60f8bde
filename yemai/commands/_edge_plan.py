"""What ``yemai edge plan`` and ``yemai edge check`` say of a configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from device_profiles.registers import Block
from edge_agent.checks import USUAL_BAUDS
from edge_agent.driver import LinkDown
from edge_agent.learned import Learned
from edge_agent.ports import advice, resolve
from edge_agent.schedule import MOST_USED, plan_bus, wire_of
from yemai.words import say

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edge_agent.config import AgentConfig, Bus
    from edge_agent.schedule import Plan


class PollLine(msgspec.Struct, frozen=True):
    """One poll of the plan, as JSON tells it."""

    device: str
    period_s: float
    start_s: float
    requests: tuple[Block, ...]
    bytes: int
    milliseconds: float
    values: tuple[str, ...]


class BusLines(msgspec.Struct, frozen=True):
    """One bus of the plan."""

    bus: str
    driver: str
    requests_per_s: float
    bytes_per_s: float
    utilisation: float
    polls: tuple[PollLine, ...]


def plans(config: AgentConfig) -> list[BusLines]:
    """Return the plan of each polled bus, with what its models have taught so far."""
    learned = Learned(config.outbox.path.with_suffix(".learned.json"))
    return [
        _lines(bus, plan_bus(bus.devices, bus.period_s, wire, learned.reach))
        for bus in config.buses
        if (wire := wire_of(bus.link, bus.module.TRANSPORT)) is not None
    ]


def _lines(bus: Bus, plan: Plan) -> BusLines:
    polls = tuple(
        PollLine(
            poll.device.id,
            poll.group.period_s,
            round(poll.start_s, 3),
            poll.group.blocks,
            sum(map(plan.wire.bytes_of, poll.group.blocks)),
            round(1000 * poll.group.seconds, 2),
            tuple(point.what for point in poll.group.points),
        )
        for poll in plan.polls
    )
    return BusLines(
        bus.id, bus.module.__name__.rpartition(".")[2], round(plan.requests_per_s, 3), round(plan.bytes_per_s, 1),
        round(plan.used, 4), polls,
    )  # fmt: skip


def table(lines: list[BusLines]) -> RenderableType:
    """Return the plans for a terminal."""
    if not lines:
        return Text(say("没有轮询的总线。", "No bus is polled here."))
    return Group(*(_table(bus) for bus in lines))


def _table(bus: BusLines) -> RenderableType:
    head = say(
        f"{bus.bus} · {bus.driver} · 总线占用 {bus.utilisation:.1%} (上限 {MOST_USED:.0%}) · "
        f"{bus.requests_per_s:.2f} 请求/秒 · {bus.bytes_per_s:.0f} 字节/秒",
        f"{bus.bus} · {bus.driver} · bus utilisation {bus.utilisation:.1%} (at most {MOST_USED:.0%}) · "
        f"{bus.requests_per_s:.2f} requests/s · {bus.bytes_per_s:.0f} bytes/s",
    )
    made = Table(title=head, title_justify="left", title_style="bold")
    for zh, en, justify in (
        ("设备", "device", "left"), ("周期 s", "period s", "right"), ("起始 s", "start s", "right"),
        ("请求 (空间 地址+数量)", "requests (space address+count)", "left"), ("字节", "bytes", "right"), ("毫秒", "ms", "right"),
    ):  # fmt: skip
        made.add_column(say(zh, en), justify="right" if justify == "right" else "left")
    for poll in bus.polls:
        made.add_row(
            poll.device,
            f"{poll.period_s:g}",
            f"{poll.start_s:.2f}",
            "  ".join(f"{b.space} {b.address}+{b.count}" for b in poll.requests),
            str(poll.bytes),
            f"{poll.milliseconds:.1f}",
        )
    return made


def remarks(config: AgentConfig) -> list[str]:
    """Return what works as it stands and might yet bite."""
    found = _of_disk(config)
    for place, bus in enumerate(config.buses):
        if better := advice(
            getattr(bus.link, "port", "") if isinstance(getattr(bus.link, "port", ""), str) else ""
        ):
            found.append(
                say(
                    f"$.buses[{place}].link.port: {bus.link.port} 重启后可能换成别的设备；请写 {better}",
                    f"$.buses[{place}].link.port: {bus.link.port} may be another adapter after a reboot; write {better}",
                )
            )
        else:
            found += _of_port(place, getattr(bus.link, "port", ""))
        found += _of_baud(place, getattr(bus.link, "baud", USUAL_BAUDS[0]))
    return found


def _of_baud(place: int, baud: int) -> list[str]:
    """Say that hardly anything speaks at such a speed."""
    if baud in USUAL_BAUDS:
        return []
    usual = ", ".join(map(str, USUAL_BAUDS))
    return [
        say(
            f"$.buses[{place}].link.baud: {baud} 不常见；常见的是 {usual}",
            f"$.buses[{place}].link.baud: {baud} is unusual; usual are {usual}",
        )
    ]


def _of_port(place: int, port: object) -> list[str]:
    """Say that a serial port is not here: it may be on the box that the file is for."""
    if not isinstance(port, str) or not port:
        return []
    try:
        if Path(resolve(port)).exists():
            return []
        problem = port
    except LinkDown as error:
        problem = str(error)
    return [
        say(
            f"$.buses[{place}].link.port: 本机上没有：{problem}",
            f"$.buses[{place}].link.port: not on this machine: {problem}",
        )
    ]


def _of_disk(config: AgentConfig) -> list[str]:
    """Say that the outbox would have to be kept in memory."""
    place = config.outbox.path.parent
    while not place.exists():
        place = place.parent
    if os.access(place, os.W_OK):
        return []
    return [
        say(
            f"$.outbox.path: {place} 不可写：读数只能留在内存里，断电即失",
            f"$.outbox.path: {place} cannot be written to: readings would be kept in memory, and a power cut would lose them",
        )
    ]
