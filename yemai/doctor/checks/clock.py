"""Our clock against those of other machines: five minutes ahead, and readings go to quarantine."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from telemetry.text import Text
from yemai.doctor.finding import bad, warning, well

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yemai.doctor.finding import Finding
    from yemai.doctor.plan import Plan

_MOST_S = 2.0
_WAIT_S = 5.0


def check(plan: Plan, now: datetime) -> Iterator[Finding]:  # noqa: ARG001 - each answer has its own moment
    """Ask each clock."""
    for url in plan.clocks:
        if not url.startswith(("http://", "https://")):
            yield warning("clock_unknown", Text(f"时钟 {url} 不是 http 地址", f"clock {url} is no http address"),
                          Text("在 clocks 中写 http(s) 地址", "name http(s) addresses in clocks"))  # fmt: skip
            continue
        try:
            told, ours = _ask(url)
        except (OSError, ValueError, TypeError) as error:
            yield warning("clock_unknown", Text(f"{url} 未报时：{error}", f"{url} did not tell the time: {error}"),
                          Text("检查该服务", "see to that service"))  # fmt: skip
            continue
        off = (ours - told).total_seconds()
        if abs(off) > _MOST_S:
            yield bad("clock_off", Text(f"本机时钟与 {url} 相差 {off:+.0f} 秒", f"this clock and that of {url} differ by {off:+.0f} s"),
                      Text("在两台机器上启用 chrony 或 systemd-timesyncd", "run chrony or systemd-timesyncd on both machines"))  # fmt: skip
        else:
            yield well("clock", f"时钟与 {url} 一致", f"the clock agrees with {url}")


def _ask(url: str) -> tuple[datetime, datetime]:
    try:
        with urllib.request.urlopen(url, timeout=_WAIT_S) as answer:  # noqa: S310 - http or https, checked
            told = answer.headers["Date"]
    except urllib.error.HTTPError as error:  # it answered, which is all we want
        told = error.headers["Date"]
        error.close()
    return parsedate_to_datetime(told), datetime.now(UTC)
