"""Which class and colour of alarms has which plan, and which has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from command_center import plans
from command_center.config import load_config
from device_profiles.vocabulary import load_classes
from telemetry.errors import ConfigError
from telemetry.severity import Severity
from yemai.words import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Row = dict[str, Any]


def rows(config: Path) -> list[Row]:
    """Return what the plans of ``center.toml`` cover of every class there is; see :func:`command_center.plans.coverage`.

    Raises :class:`ConfigError` where no plans are configured.
    """
    file = load_config(config).linkage.file
    if file is None:
        raise ConfigError(config, "$.linkage.file", "no plans are configured", hint='file = "plans.yaml"')
    return plans.coverage(plans.load(file), load_classes())


def red_without(found: Sequence[Row]) -> list[str]:
    """Return the classes whose red alarms no plan ever answers."""
    return [row["class"] for row in found if row["severity"] == Severity.RED.label.en and not row["plans"]]


def table(found: Sequence[Row]) -> Table:
    """Return a line a class and a column a colour; what holds only at times or places is in brackets."""
    shown = Table(say("类型", "class"), *(say(*_words(one)) for one in reversed(Severity)), box=None)
    classes = load_classes()
    for name in dict.fromkeys(row["class"] for row in found):
        label = classes[name].label
        cells = {row["severity"]: _cell(row) for row in found if row["class"] == name}
        shown.add_row(
            f"{say(label.zh, label.en)} ({name})", *(cells[one.label.en] for one in reversed(Severity))
        )
    return shown


def _words(severity: Severity) -> tuple[str, str]:
    return severity.label.zh, severity.label.en


def _cell(row: Row) -> str:
    cell = ", ".join(plan if plan in row["always"] else f"({plan})" for plan in row["plans"])
    return cell or say("✕ 无预案", "✕ no plan")
