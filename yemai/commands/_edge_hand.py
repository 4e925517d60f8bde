"""``yemai edge read`` and ``write``: through the running agent, or over the bus itself where none runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent.byhand import Sample, read_once
from edge_agent.config import load_config
from edge_agent.local import ask
from edge_agent.orders import order_for
from telemetry.commands import Command, CommandResult
from telemetry.errors import Refused, Unavailable, did_you_mean
from telemetry.readings import DeviceId, MetricName
from yemai.words import say

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.config import AgentConfig, Bus
    from edge_agent.driver import Device


async def read(path: Path, device: str, metric: str) -> Sample:
    """Return one value; raise :class:`Refused` or :class:`Unavailable`."""
    config = load_config(path)
    bus, known = _find(config, device)
    try:
        answer = await ask(config.socket, f"read {device} {metric}")
    except Unavailable:
        async with bus.module.Driver(bus.link, bus.devices) as driver:
            return await read_once(driver, known, metric)
    return _sample(answer)


async def write(path: Path, device: str, metric: str, value: float) -> str:
    """Set one metric and return the sentence that says what became of it."""
    config = load_config(path)
    bus, known = _find(config, device)
    order = order_for(Command("hand", DeviceId(device), 0, MetricName(metric), value), known)
    try:
        answer = await ask(config.socket, f"write {device} {metric} {value:g}")
    except Unavailable:
        async with bus.module.Driver(bus.link, bus.devices) as driver:
            await read_once(driver, known, metric)  # the right device, and it answers
            for step in order.writes:
                await driver.write(known, step)
            said = (await read_once(driver, known, metric)).value
        if said is None or abs(said - value) > 1e-6:
            raise Refused(f"{device} {metric}: {_differs(said, value)}") from None
        return _verified(device, metric, said)
    result = _either(answer)
    if isinstance(result, Sample):
        raise Refused(f"{device} {metric}: {result.problem}")
    if result.state != "verified":
        raise Refused(f"{device} {metric}: {result.state}: {result.problem}")
    return _verified(device, metric, result.read_back)


def _find(config: AgentConfig, device: str) -> tuple[Bus, Device]:
    known = {d.id: (bus, d) for bus in config.buses for d in bus.devices}
    if device not in known:
        raise Refused(f"no device '{device}' in this file; {did_you_mean(device, known)}")
    bus, found = known[device]
    if bus.module.TRANSPORT != "modbus":
        raise Refused(f"'{device}' speaks when it likes and cannot be asked; see yemai edge status")
    return bus, found


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


def _differs(said: float | None, value: float) -> str:
    heard = say("无", "nothing") if said is None else f"{said:g}"
    return say(f"写入后读回 {heard}，应为 {value:g}", f"reads back {heard} instead of {value:g}")


def _verified(device: str, metric: str, said: float | None) -> str:
    return say(
        f"{device} {metric} 已写入，读回 {said:g}", f"{device} {metric} was written and reads back {said:g}"
    )
