"""Runs every check: a file in ``yemai/doctor/checks/`` each, with ``check(plan, now)``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry import plugins

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from yemai.doctor.finding import Finding
    from yemai.doctor.plan import Plan

_CHECKS = "yemai.doctor.checks"


def examine(plan: Plan, now: datetime) -> Iterator[Finding]:
    """Return what all checks find, one after the other."""
    for name in plugins.names(_CHECKS):
        yield from plugins.load(_CHECKS, name).check(plan, now)
