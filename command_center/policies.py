"""``notify.yaml``: people, rosters, channels, and which alarm is told to whom, when and how.

Pure but for reading the file.  A policy is found deterministically: of those whose every given field holds, the one
with the most fields given, then the first in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from command_center.rosters import Person, Roster, minutes
from telemetry import plugins
from telemetry.config import Secret, convert, load_yaml
from telemetry.errors import ConfigError, Refused, did_you_mean
from telemetry.severity import Severity
from telemetry.transitions import Category

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from command_center.lifecycle import Alarm

PACKAGE = "command_center.channels"
_COLOURS = frozenset(severity.label.en for severity in Severity)


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """Which alarms; a field left out holds for all."""

    severity: tuple[str, ...] = ()
    category: tuple[Category, ...] = ()
    class_: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()
    site: tuple[str, ...] = ()

    def holds(self, alarm: Alarm, site: str | None) -> bool:
        """Return whether every field given holds."""
        told = (
            (self.severity, alarm.worst.label.en),
            (self.category, alarm.category),
            (self.class_, alarm.device_class),
            (self.rule, alarm.rule),
            (self.site, site),
        )
        return all(not wanted or value in wanted for wanted, value in told)

    @property
    def weight(self) -> int:
        """How many fields are given."""
        return sum(bool(field) for field in (self.severity, self.category, self.class_, self.rule, self.site))


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``after_s`` seconds from the alarm, tell these rosters and people, by the first of these channels that works."""

    tell: tuple[str, ...]
    by: tuple[str, ...]
    after_s: float = 0.0


class Quiet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hours in which this policy waits; a red alarm never does."""

    begin: str
    end: str


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done about the alarms that ``match``.  No steps: recorded and shown, told to nobody."""

    name: str
    match: Match = Match()
    steps: tuple[Step, ...] = ()
    repeat_s: float = 0.0
    repeat_most: int = 0
    quiet: Quiet | None = None
    tell_recovery: bool = True


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.

    ``single_most`` messages in ten minutes to one person by one channel come one by one, the rest as a digest every
    ``digest_s`` seconds; what is urgent never waits for a digest.
    """

    people: dict[str, Person]
    channels: dict[str, dict[str, Any]]
    policies: tuple[Policy, ...]
    rosters: dict[str, Roster] = {}
    zone: str = "Asia/Shanghai"
    receipt_token: Secret | None = None
    """The last part of the address at which vendors report: ``/api/receipts/<channel>/<token>``."""
    single_most: int = 4
    digest_s: float = 120.0
    answer_links: bool = True
    """Whether messages to one person carry a link by which he acknowledges without signing in."""
    unverified: Literal["last", "red_only"] = "last"
    """When an address is used that nobody has proven: after those that are, or after those and for red alarms only."""


class Told(msgspec.Struct, frozen=True):
    """The file, read and checked; ``kinds`` and ``configs`` by channel name."""

    setup: Setup
    zone: ZoneInfo
    kinds: dict[str, ModuleType]
    configs: dict[str, Any]

    def policy(self, alarm: Alarm, site: str | None) -> Policy | None:
        """Return the policy for an alarm."""
        found = [policy for policy in self.setup.policies if policy.match.holds(alarm, site)]
        return max(found, key=lambda policy: policy.match.weight, default=None)

    def named(self, name: str) -> Policy | None:
        """Return a policy by its name."""
        return next((policy for policy in self.setup.policies if policy.name == name), None)


def load(path: Path) -> Told:
    """Read and check ``notify.yaml``; raise :class:`ConfigError`."""
    setup = load_yaml(path, Setup)
    try:
        zone = ZoneInfo(setup.zone)
    except (KeyError, ValueError, OSError):
        raise ConfigError(path, "$.zone", f"no time zone '{setup.zone}'", hint="like Asia/Shanghai") from None
    kinds, configs = {}, {}
    for name, raw in setup.channels.items():
        at = f"$.channels.{name}"
        kind = raw.get("kind", name)
        try:
            kinds[name] = plugins.load(PACKAGE, str(kind))
        except Refused as error:
            raise ConfigError(path, f"{at}.kind", str(error)) from None
        rest = {key: value for key, value in raw.items() if key != "kind"}
        configs[name] = convert(rest, kinds[name].Config, file=path, at=at)
    _check(path, setup)
    return Told(setup, zone, kinds, configs)


def _check(path: Path, setup: Setup) -> None:
    def known(name: str, names: Iterable[str], at: str, what: str) -> None:
        if name not in (pool := list(names)):
            raise ConfigError(path, at, f"no {what} '{name}'", hint=did_you_mean(name, pool))

    def hours(words: str, at: str) -> None:
        try:
            minutes(words)
        except ValueError:
            raise ConfigError(path, at, f"'{words}' is no time of day", hint='like "08:00"') from None

    for who, person in setup.people.items():
        for channel in person.reach:
            known(channel, setup.channels, f"$.people.{who}.reach", "channel")
    for name, roster in setup.rosters.items():
        for n, shift in enumerate(roster.shifts):
            for who in shift.who:
                known(who, setup.people, f"$.rosters.{name}.shifts[{n}].who", "person")
            hours(shift.begin, f"$.rosters.{name}.shifts[{n}].begin")
            hours(shift.end, f"$.rosters.{name}.shifts[{n}].end")
        if roster.rotation:
            hours(roster.rotation.at, f"$.rosters.{name}.rotation.at")
            if not roster.rotation.who or roster.rotation.days < 1:
                raise ConfigError(
                    path, f"$.rosters.{name}.rotation", "a rotation needs people and at least a day each"
                )
            for who in roster.rotation.who:
                known(who, setup.people, f"$.rosters.{name}.rotation.who", "person")
    for n, policy in enumerate(setup.policies):
        for colour in policy.match.severity:
            known(colour, _COLOURS, f"$.policies[{n}].match.severity", "colour")
        for m, step in enumerate(policy.steps):
            for name in step.tell:
                known(
                    name,
                    [*setup.people, *setup.rosters],
                    f"$.policies[{n}].steps[{m}].tell",
                    "roster or person",
                )
            for channel in step.by:
                known(channel, setup.channels, f"$.policies[{n}].steps[{m}].by", "channel")
            if not step.by:
                raise ConfigError(path, f"$.policies[{n}].steps[{m}].by", "by which channel?")
        if policy.repeat_most and policy.repeat_s < 30:
            raise ConfigError(
                path, f"$.policies[{n}].repeat_s", f"{policy.repeat_s} is too often", hint="30 or more"
            )
        if policy.quiet:
            hours(policy.quiet.begin, f"$.policies[{n}].quiet.begin")
            hours(policy.quiet.end, f"$.policies[{n}].quiet.end")
    names = [policy.name for policy in setup.policies]
    for n, name in enumerate(names):
        if name in names[:n]:
            raise ConfigError(path, f"$.policies[{n}].name", f"'{name}' is there twice")
