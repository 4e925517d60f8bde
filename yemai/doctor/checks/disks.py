"""Disks: full ones stop the ledger, and then everything waits in the agents."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from telemetry.text import Text
from yemai.doctor.finding import bad, warning, well

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from yemai.doctor.finding import Finding
    from yemai.doctor.plan import Plan

BAD_SHARE, WARN_SHARE = 0.95, 0.85


def check(plan: Plan, now: datetime) -> Iterator[Finding]:  # noqa: ARG001 - as every check
    """Look at each disk."""
    for path in plan.disks:
        try:
            usage = shutil.disk_usage(path)
        except OSError as error:
            yield bad("disk_missing", Text(f"{path}：{error.strerror}", f"{path}: {error.strerror}"),
                      Text("挂载该盘", "mount it"))  # fmt: skip
            continue
        share, left = usage.used / (usage.used + usage.free), usage.free / 2**30
        told = Text(
            f"{path} 已用 {share:.0%}，剩 {left:.1f} GiB",
            f"{path} is {share:.0%} full, {left:.1f} GiB are left",
        )
        mend = Text(
            "扩容，或缩短 keep_days；见 docs/operate.md",
            "make it larger, or keep_days shorter; see docs/operate.md",
        )
        if share >= BAD_SHARE:
            yield bad("disk_full", told, mend)
        elif share >= WARN_SHARE:
            yield warning("disk_filling", told, mend)
        else:
            yield well("disk", told.zh, told.en)
