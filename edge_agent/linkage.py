"""What the site does by itself when an alarm begins: charger off, lamps full, siren on, with the uplink unplugged."""

from __future__ import annotations

import asyncio
import fnmatch
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import structlog

from edge_agent.orders import order_for
from telemetry.commands import Command, CommandState
from telemetry.errors import ConfigError, Refused, YemaiError, did_you_mean
from telemetry.readings import DeviceId, MetricName
from telemetry.severity import Severity
from telemetry.transitions import Change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edge_agent.commands import Commander
    from edge_agent.config import JudgementConfig
    from edge_agent.driver import Device
    from edge_agent.orders import CommandsConfig
    from telemetry.clock import Clock
    from telemetry.transitions import Transition

SAME = "same"
_LIFE_MS = 30_000  # an action that could not be taken by then is no answer to the alarm any more
_TRIES = 3
_PAUSE_S = 1.0
log = structlog.get_logger()


class Linkage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[linkage]]``: when ``rule`` begins (or worsens to ``severity``) or ends, set a metric or give a command."""

    rule: str
    target: str  # a device of this agent, or "same": the one with the alarm
    device: str = "*"  # a pattern for the one with the alarm
    severity: Literal["blue", "yellow", "orange", "red"] = "blue"  # the least
    when: Literal["begins", "ends"] = "begins"
    metric: str = ""
    value: float | None = None
    text: str | None = None
    command: str = ""

    def answers(self, transition: Transition) -> bool:
        """Whether this transition is what it waits for."""
        if transition.rule != self.rule or transition.retrospective:
            return False
        if not fnmatch.fnmatchcase(transition.device, self.device):
            return False
        if self.when == "ends":
            return transition.change is Change.ENDED
        raised = transition.change in (Change.BEGAN, Change.WORSENED)
        return raised and transition.severity >= Severity.parse(self.severity)

    def command_for(self, transition: Transition, place: int, now_ms: int, attempt: int = 0) -> Command:
        """Return the command, with the same id however often the same transition is judged."""
        target = transition.device if self.target == SAME else DeviceId(self.target)
        again = f".{attempt}" if attempt else ""
        return Command(
            f"link-{transition.id}-{place}{again}", target, now_ms + _LIFE_MS, MetricName(self.metric), self.value,
            self.command, by=f"linkage:{self.rule}", text=self.text,
        )  # fmt: skip


class Linkages:
    """Answers transitions with commands."""

    def __init__(self, linkages: Sequence[Linkage], commander: Commander, clock: Clock) -> None:
        self._linkages, self._commander, self._clock = linkages, commander, clock
        self._newest: dict[tuple[str, str], str] = {}  # target, point → the transition that acts on it

    async def answer(self, transition: Transition) -> None:
        """Do what is configured; a set-point that could not be written is tried again, a command never."""
        mine: dict[str, list[tuple[int, Linkage]]] = {}
        for place, linkage in enumerate(self._linkages):
            if linkage.answers(transition):
                target = transition.device if linkage.target == SAME else linkage.target
                mine.setdefault(target, []).append((place, linkage))
                self._newest[target, linkage.metric or linkage.command] = transition.id
        async with asyncio.TaskGroup() as targets:
            for linkages in mine.values():
                targets.create_task(self._act_in_order(linkages, transition))

    async def _act_in_order(self, linkages: Sequence[tuple[int, Linkage]], transition: Transition) -> None:
        """Act on one target; another one waits for none that does not answer."""
        for behind, (place, linkage) in enumerate(linkages):
            if not behind or not self._is_overtaken(linkage, transition):
                await self._act(linkage, transition, place)

    def _is_overtaken(self, linkage: Linkage, transition: Transition) -> bool:
        """Whether a newer transition has acted since: it would be undone by what comes late."""
        target = transition.device if linkage.target == SAME else linkage.target
        name = linkage.metric or linkage.command
        if (newest := self._newest[target, name]) == transition.id:
            return False
        log.warning("linkage_overtaken", rule=linkage.rule, target=target, what=name, by=newest)
        return True

    async def _act(self, linkage: Linkage, transition: Transition, place: int) -> None:
        for attempt in range(_TRIES if linkage.metric else 1):
            if attempt:
                await self._clock.sleep(_PAUSE_S)
                if self._is_overtaken(linkage, transition):
                    return
            command = linkage.command_for(transition, place, self._clock.now_ms(), attempt)
            try:
                taken = await self._commander.take(command, cause=transition.alarm)
                result = taken if isinstance(taken, msgspec.Struct) else await taken
            except YemaiError as error:
                log.error("linkage_failed", rule=linkage.rule, target=command.device, problem=str(error))
                continue
            if result.state is not CommandState.FAILED:
                return


class Terms(NamedTuple):
    """What a linkage is bound by."""

    commands: CommandsConfig
    judgement: JudgementConfig


def check_linkage(
    path: Path, linkages: Sequence[Linkage], devices: Mapping[str, Device], terms: Terms
) -> None:
    """Raise :class:`ConfigError` for a linkage that can never act."""
    if not linkages:
        return
    from edge_agent.judgement import edge_rules  # noqa: PLC0415 - numpy is loaded where rules are judged

    rules = edge_rules({device.profile.device_class for device in devices.values()}, terms.judgement, path)
    known = {rule.id: pack.device_class for pack in rules for rule in pack.rules}
    for index, linkage in enumerate(linkages):
        at = f"$.linkage[{index}]"
        if linkage.rule not in known:
            raise ConfigError(
                path, f"{at}.rule", f"no edge rule '{linkage.rule}' for the devices here",
                hint=did_you_mean(linkage.rule, known),
            )  # fmt: skip
        watched = [
            d for d in devices.values()
            if d.profile.device_class == known[linkage.rule] and fnmatch.fnmatchcase(d.id, linkage.device)
        ]  # fmt: skip
        if not watched:
            raise ConfigError(path, f"{at}.device", f"'{linkage.device}' fits no {known[linkage.rule]} here")
        if linkage.target != SAME and linkage.target not in devices:
            raise ConfigError(
                path,
                f"{at}.target",
                f"no device '{linkage.target}' here",
                hint=did_you_mean(linkage.target, devices),
            )
        targets = watched if linkage.target == SAME else [devices[linkage.target]]
        for device in targets:
            if device.profile.frame is not None:
                raise ConfigError(
                    path, f"{at}.target", f"'{device.id}' sleeps: it could not be told within {_LIFE_MS // 1000} s",
                    hint="choose a device on a bus",
                )  # fmt: skip
            command = Command(
                "check", DeviceId(device.id), 0, MetricName(linkage.metric), linkage.value, linkage.command,
                text=linkage.text,
            )  # fmt: skip
            try:
                terms.commands.check_text(command)
                order_for(command, device)
            except Refused as error:
                raise ConfigError(path, at, str(error)) from None
