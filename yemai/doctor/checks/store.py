"""The time-series store: does it answer, and is it a version that ingest writes."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from telemetry.text import Text
from yemai.doctor.finding import bad, warning, well

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from yemai.doctor.finding import Finding
    from yemai.doctor.plan import Plan

_WAIT_S = 5.0
_KNOWN = {"1", "2", "3"}


def check(plan: Plan, now: datetime) -> Iterator[Finding]:  # noqa: ARG001 - as every check
    """Ask the store."""
    if plan.store is None:
        return
    url = plan.store.url.rstrip("/")
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=_WAIT_S) as answer:  # noqa: S310 - the operator's own address
            version = answer.headers.get("X-Influxdb-Version", "").lstrip("v")
    except (OSError, ValueError) as error:
        yield bad("store_unreachable", Text(f"存储 {url}：{error}", f"store {url}: {error}"),
                  Text("启动它；期间数据在账本中等待", "start it; meanwhile the data waits in the ledger"))  # fmt: skip
        return
    if version[:1] not in _KNOWN:
        yield warning("store_unknown", Text(f"{url} 未说明 InfluxDB 版本", f"{url} does not say which InfluxDB it is"),
                      Text("在 ingest.toml 的 [store] 写 version", "say version in ingest.toml's [store]"))  # fmt: skip
    else:
        yield well("store", f"{url} 运行 InfluxDB {version}", f"{url} runs InfluxDB {version}")
