"""``plans.yaml``: what is done about which alarm — a checklist for people, actions for devices.

Pure but for reading the file.  Matching is deterministic and explains itself: of the plans whose every given field
holds, the one with the most fields, then the highest version, then the first by id.  The alarm's colour, its
category and the plan's response level are three fields, and none stands for another.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from command_center import led
from command_center.cap.document import Certainty, Urgency
from command_center.led import Show, Template
from command_center.policies import Match, Step
from command_center.rosters import minutes
from device_profiles.vocabulary import load_classes
from telemetry.config import load_yaml
from telemetry.errors import ConfigError, Refused, did_you_mean
from telemetry.severity import Severity
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from command_center.lifecycle import Alarm
    from command_center.policies import Told

Response = Literal["I", "II", "III", "IV"]
RESPONSES: tuple[Response, ...] = ("I", "II", "III", "IV")
Interlock = Literal["automatic", "one", "two"]
Mode = Literal["live", "dry_run", "drill"]
FIELDS = ("severity", "category", "class", "rule", "site", "street", "hours")


class Where(Match, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """Which alarms, and in which streets."""

    street: tuple[str, ...] = ()


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From ``begin`` to ``end`` (``HH:MM``), over midnight where the end comes first."""

    begin: str
    end: str


class Task(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that ``owner`` does within a time."""

    do: Text
    owner: str
    within_s: float


class Around(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"class_": "class"}):
    """Devices of a class at most so far from the alarm's own device."""

    class_: str
    within_m: float


class Warn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CAP warning that goes with the plan: restricted to ourselves until a named person signs it public."""

    event: Text
    instruction: Text
    urgency: Urgency = "Immediate"
    certainty: Certainty = "Observed"
    radius_m: float = 300.0
    expires_s: float = 86_400.0


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Set a metric of the alarm's device, or of the devices around it, or show a text there; read back or it failed.

    ``undo`` is what sets it back.  ``automatic`` acts at once, ``one`` and ``two`` wait for so many people.
    """

    id: str
    title: Text
    metric: str = ""
    value: float | None = None
    text: Show | None = None
    undo: float | None = None
    around: Around | None = None
    interlock: Interlock = "two"
    within_s: float = 30.0
    tolerance: float = 0.5


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One plan.  ``dry_run`` records what it would do and does nothing."""

    id: str
    title: Text
    response: Response
    match: Where = Where()
    hours: Hours | None = None
    version: int = 1
    dry_run: bool = False
    checklist: tuple[Task, ...] = ()
    actions: tuple[Action, ...] = ()
    tell: tuple[Step, ...] = ()
    warn: Warn | None = None


class Plans(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file.  More than ``most_per_minute`` actions of one plan, or the same actuator within ``dwell_s``, are held."""

    plans: tuple[Plan, ...]
    templates: tuple[Template, ...] = ()
    zone: str = "Asia/Shanghai"
    most_per_minute: int = 20
    dwell_s: float = 30.0
    deepest: int = 5
    """So many plans may follow from each other's actions; the next is held."""

    def template(self, key: str) -> Template | None:
        """Return the template of an id."""
        return next((template for template in self.templates if template.id == key), None)


class Choice(msgspec.Struct, frozen=True):
    """Which plan, and for each plan which of its fields held and which did not."""

    plan: Plan | None
    clauses: dict[str, dict[str, bool]]


def load(path: Path) -> Plans:
    """Read and check ``plans.yaml``; raise :class:`ConfigError`."""
    found = load_yaml(path, Plans)
    seen: set[str] = set()
    colours = {severity.label.en for severity in Severity}
    for n, plan in enumerate(found.plans):
        at = f"$.plans[{n}]"
        if plan.id in seen:
            raise ConfigError(path, f"{at}.id", f"'{plan.id}' is there twice")
        seen.add(plan.id)
        if wrong := [word for word in plan.match.severity if word not in colours]:
            raise ConfigError(
                path, f"{at}.match.severity", f"no colour '{wrong[0]}'", hint="red, orange, yellow or blue"
            )
        if plan.hours:
            for key in ("begin", "end"):
                try:
                    minutes(getattr(plan.hours, key))
                except ValueError:
                    raise ConfigError(
                        path, f"{at}.hours.{key}", "no time of day", hint='like "08:00"'
                    ) from None
        names = [action.id for action in plan.actions]
        for m, action in enumerate(plan.actions):
            if names.count(action.id) > 1:
                raise ConfigError(path, f"{at}.actions[{m}].id", f"'{action.id}' is there twice")
            _check_action(path, f"{at}.actions[{m}]", action, plan, found)
    for n, template in enumerate(found.templates):
        _check_template(path, f"$.templates[{n}]", template, found)
    return found


def _check_action(path: Path, at: str, action: Action, plan: Plan, plans: Plans) -> None:
    if not 1 <= action.within_s <= 3600:
        raise ConfigError(path, f"{at}.within_s", f"{action.within_s} is not between 1 and 3600 s")
    if action.text is not None:
        if action.metric or action.value is not None:
            raise ConfigError(path, at, "has a text and a metric", hint="one of the two")
        if action.interlock == "automatic":
            raise ConfigError(path, f"{at}.interlock", "a text in public waits for people", hint="one or two")
        template = plans.template(action.text.template)
        if template is None:
            known = [one.id for one in plans.templates]
            raise ConfigError(
                path, f"{at}.text.template", f"no template '{action.text.template}'",
                hint=did_you_mean(action.text.template, known),
            )  # fmt: skip
        if led.blanks_of(template) != set(action.text.fill):
            missing = ", ".join(sorted(led.blanks_of(template) ^ set(action.text.fill)))
            raise ConfigError(
                path, f"{at}.text.fill", f"does not fit the blanks of '{template.id}': {missing}"
            )
        return
    if not action.metric or action.value is None:
        raise ConfigError(path, at, "sets nothing", hint="a metric and a value, or a text")
    classes = load_classes()
    for name in (action.around.class_,) if action.around else plan.match.class_:
        if name not in classes:
            raise ConfigError(path, at, f"no class '{name}'", hint=did_you_mean(name, classes))
        writable = [key for key, metric in classes[name].metrics.items() if metric.writable]
        if action.metric not in writable:
            raise ConfigError(
                path, f"{at}.metric", f"'{action.metric}' of '{name}' cannot be set",
                hint=did_you_mean(action.metric, writable),
            )  # fmt: skip


def _check_template(path: Path, at: str, template: Template, plans: Plans) -> None:
    if [one.id for one in plans.templates].count(template.id) > 1:
        raise ConfigError(path, f"{at}.id", f"'{template.id}' is there twice")
    if unknown := set(template.blanks) - led.blanks_of(template):
        raise ConfigError(path, f"{at}.blanks", f"'{min(unknown)}' is not in the text")
    try:
        led.check(re.sub(r"\{[a-z_]+\}", "", template.text), template)
    except Refused as error:
        raise ConfigError(path, f"{at}.text", str(error)) from None


def check_told(path: Path, plans: Plans, told: Told | None) -> None:
    """Raise :class:`ConfigError` for a plan that tells whom ``notify.yaml`` does not know."""
    for n, plan in enumerate(plans.plans):
        for m, step in enumerate(plan.tell):
            at = f"$.plans[{n}].tell[{m}]"
            if told is None:
                raise ConfigError(
                    path, at, "nobody can be told", hint="[notify] file is not set in center.toml"
                )
            people = {*told.setup.people, *told.setup.rosters}
            for key, wanted, known in (
                ("tell", step.tell, people),
                ("by", step.by, set(told.setup.channels)),
            ):
                if unknown := [name for name in wanted if name not in known]:
                    raise ConfigError(
                        path, f"{at}.{key}", f"no '{unknown[0]}' in notify.yaml",
                        hint=did_you_mean(unknown[0], sorted(known)),
                    )  # fmt: skip


def choose(plans: Plans, alarm: Alarm, site: str | None, now_ms: int, street: str | None = None) -> Choice:
    """Return the plan for an alarm and why."""
    where = (site, street)
    local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(plans.zone))
    clauses = {plan.id: _clauses(plan, alarm, where, local.hour * 60 + local.minute) for plan in plans.plans}
    fitting = [plan for plan in plans.plans if all(clauses[plan.id].values())]
    best = min(fitting, key=lambda plan: (-len(clauses[plan.id]), -plan.version, plan.id), default=None)
    return Choice(best, clauses)


def _clauses(plan: Plan, alarm: Alarm, where: tuple[str | None, str | None], minute: int) -> dict[str, bool]:
    match = plan.match
    told: dict[str, tuple[Iterable[Any], Any]] = {
        "severity": (match.severity, alarm.worst.label.en),
        "category": (match.category, alarm.category),
        "class": (match.class_, alarm.device_class),
        "rule": (match.rule, alarm.rule),
        "site": (match.site, where[0]),
        "street": (match.street, where[1]),
    }
    clauses = {field: value in wanted for field, (wanted, value) in told.items() if wanted}
    if plan.hours:
        begin, end = minutes(plan.hours.begin), minutes(plan.hours.end)
        clauses["hours"] = begin <= minute < end if begin < end else minute >= begin or minute < end
    return clauses


def coverage(plans: Plans, classes: Iterable[str]) -> list[dict[str, Any]]:
    """Return for each class and colour the plans that may hold, and those that hold whatever else the alarm is."""
    rows = []
    for name in sorted(classes):
        for severity in sorted(Severity, reverse=True):
            colour = severity.label.en
            may = [
                plan for plan in plans.plans
                if (not plan.match.class_ or name in plan.match.class_) and (not plan.match.severity or colour in plan.match.severity)
            ]  # fmt: skip
            sure = [
                plan.id for plan in may
                if not (plan.match.category or plan.match.rule or plan.match.site or plan.match.street or plan.hours)
            ]  # fmt: skip
            rows.append(
                {"class": name, "severity": colour, "plans": [plan.id for plan in may], "always": sure}
            )
    return rows
