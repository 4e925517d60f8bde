"""``yemai edge read`` and ``write``: through the running agent, or over the bus itself where none runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent.alone import write_alone, write_forced
from edge_agent.byhand import Sample, by_hand, read_once, spell
from edge_agent.local import Busy, ask
from edge_agent.orders import order_for
from edge_agent.remote import Remote
from telemetry.clock import SystemClock
from telemetry.commands import CommandResult
from telemetry.errors import Refused, Unavailable, did_you_mean
from yemai.words import say

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.config import AgentConfig, Bus
    from edge_agent.driver import Device

_LIFE_MS = _PATIENCE_MS = 30_000


async def read(path: Path, device: str, metric: str) -> Sample:
    """Return one value; raise :class:`Refused` or :class:`Unavailable`."""
    config = Remote(path).in_force()
    bus, known = _find(config, device)
    if bus.module.TRANSPORT != "modbus":
        raise Refused(f"'{device}' speaks when it likes and cannot be asked; see yemai edge status")
    try:
        answer = await ask(config.socket, f"read {device} {metric}", _PATIENCE_MS / 1000)
    except Busy:
        raise
    except Unavailable:
        async with bus.module.Driver(bus.link, bus.devices) as driver:
            return await read_once(driver, known, metric)
    return _sample(answer)


async def write(path: Path, device: str, metric: str, wanted: str, *, force: bool = False) -> str:
    """Set one metric or text and return the sentence that says what became of it."""
    config = Remote(path).in_force()
    bus, known = _find(config, device)
    if bus.module.TRANSPORT == "serial_frame":
        raise Refused(f"'{device}' listens to nobody")
    spelt = spell(_read(known, metric, wanted))
    command = by_hand(device, metric, spelt, SystemClock().now_ms() + _LIFE_MS)
    order_for(command, known)
    config.commands.check_text(command)
    try:
        answer = await ask(config.socket, f"write {device} {metric} {spelt}", _PATIENCE_MS / 1000)
    except Busy as error:
        raise Refused(
            f"{error}. It may have written all the same: read {metric} before you write it again"
        ) from None
    except Unavailable as error:
        if bus.module.TRANSPORT != "modbus":
            raise Refused(
                f"'{device}' sleeps: only a running agent can tell it something when it wakes"
            ) from error
        return _told(
            await (write_forced(bus, command) if force else write_alone(config, bus, command)), metric
        )
    result = _either(answer)
    if isinstance(result, Sample):
        raise Refused(f"{device} {metric}: {result.problem}")
    return _told(result, metric)


def _find(config: AgentConfig, device: str) -> tuple[Bus, Device]:
    known = {d.id: (bus, d) for bus in config.buses for d in bus.devices}
    if device not in known:
        raise Refused(f"no device '{device}' in this file; {did_you_mean(device, known)}")
    return known[device]


def _read(device: Device, metric: str, wanted: str) -> float | str:
    known = {value.what: value for value in device.profile.values if not value.name}
    if metric not in known:
        raise Refused(f"'{device.id}' ({device.profile.id}) has no '{metric}'; {did_you_mean(metric, known)}")
    if known[metric].attribute:
        return wanted
    try:
        return float(wanted)
    except ValueError:
        raise Refused(f"{device.id} {metric}: '{wanted}' is no number") from None


def _sample(answer: bytes) -> Sample:
    sample = msgspec.json.decode(answer, type=Sample)
    if sample.problem:
        raise Refused(f"{sample.device} {sample.metric}: {sample.problem}")
    return sample


def _either(answer: bytes) -> CommandResult | Sample:
    fields: dict[str, Any] = msgspec.json.decode(answer)
    if "state" in fields:
        return msgspec.convert(fields, CommandResult)
    return msgspec.convert(fields, Sample)


def _told(result: CommandResult, metric: str) -> str:
    device = result.device
    if result.state == "accepted":
        return say(
            f"{device} {metric}：已接受，设备下次唤醒时下发，由其下一次上报核实",
            f"{device} {metric}: accepted; it goes out when the device next wakes, and its next report verifies it",
        )
    if result.state != "verified":
        raise Refused(f"{device} {metric}: {result.state}: {result.problem}")
    said = f"{result.read_back:g}" if result.text_back is None else f"'{result.text_back}'"
    return say(
        f"{device} {metric} 已写入，读回 {said}", f"{device} {metric} was written and reads back {said}"
    )
