"""Platform health: what ingest tells of itself at ``/metrics``, scraped by Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from dashboards.board import Board, Subject, start
from dashboards.panels import scraped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dashboards.look import Look

_I = "yemai_ingest"
_RATE = "[$__rate_interval]"


class _Row(NamedTuple):
    zh: str
    en: str
    queries: Mapping[str, str]
    unit: str = ""  # Grafana's


def _quantile(q: float, name: str) -> str:
    return f"histogram_quantile({q}, sum by (le) (rate({_I}_{name}_bucket{_RATE})))"


def _both(name: str) -> dict[str, str]:
    return {"p50": _quantile(0.5, name), "p99": _quantile(0.99, name)}


_ROWS = (
    _Row("上传消息速率", "Uploads per second", {"{{instance}}": f"rate({_I}_messages_total{_RATE})"}, "cps"),
    _Row(
        "样本去向", "Samples, by what became of them",
        {"{{account}}": f"sum by (account) (rate({_I}_samples_total{_RATE}))"}, "cps",
    ),
    _Row(
        "隔离样本，按原因", "Quarantined, by reason",
        {"{{account}}": f'sum by (account) (rate({_I}_samples_total{{account=~"quarantined:.*"}}{_RATE}))'}, "cps",
    ),
    _Row("入库样本速率", "Samples into the store", {"{{instance}}": f"rate({_I}_store_samples_total{_RATE})"}, "cps"),
    _Row("数据时延", "Age of the newest committed reading", {"{{instance}}": f"{_I}_lag_seconds"}, "s"),
    _Row("确认时延", "From arrival to acknowledgement", _both("ack_latency_seconds"), "s"),
    _Row("提交耗时", "From admission to commit", _both("commit_seconds"), "s"),
    _Row("写库耗时", "One write to the store", _both("store_write_seconds"), "s"),
    _Row("排队消息", "Uploads waiting", {"{{instance}}": f"{_I}_queue_messages"}),
    _Row("待写入存储", "Committed, not yet stored", {"{{instance}}": f"{_I}_store_waiting_bytes"}, "bytes"),
    _Row("写库失败", "Writes the store could not take", {"{{instance}}": f"increase({_I}_store_errors_total{_RATE})"}),
    _Row("每批消息数", "Uploads committed together", _both("batch_messages")),
)  # fmt: skip


def boards(look: Look, subjects: Sequence[Subject]) -> Iterator[Board]:  # noqa: ARG001 - as every kind of board
    """Return the health board."""
    uid = look.uid("platform")
    note = look.say("数据来自接入进程的 /metrics。", "From ingest's /metrics.")
    board = start(look, uid, look.say("平台健康", "Platform health"), note=note, places=())
    for each in _ROWS:
        panel = scraped(look, look.say(each.zh, each.en), each.queries)
        board.with_panel(panel.unit(each.unit) if each.unit else panel)
    yield Board(uid, board)
