"""What ``/metrics`` tells, in Prometheus's text format: every stage, counted where it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from cloud_ingest.admission import Admitted

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 3, 10, 30, 100, 300, 1000)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """One process's figures; names end in their unit."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = self._counter("messages_total", "Uploads taken from the source")
        self.samples = self._counter("samples_total", "Samples by what became of them", ["account"])
        self.batch_messages = self._histogram("batch_messages", "Uploads committed together", _SIZES)
        self.commit = self._histogram("commit_seconds", "From a batch's admission to its commit", _SECONDS)
        self.ack_latency = self._histogram(
            "ack_latency_seconds",
            "From an upload's arrival to its acknowledgement, the oldest of each batch",
            _SECONDS,
        )
        self.lag = self._gauge("lag_seconds", "Age of the newest reading that was committed last")
        self.queue = self._gauge("queue_messages", "Uploads received and not yet committed")
        self.held = self._gauge("held_messages", "Uploads that wait for their turn", ["lane"])
        self.turned_away = self._counter(
            "turned_away_total",
            "Uploads that their agents keep, for want of room here or for a window of their own",
        )
        self.waiting = self._gauge("store_waiting_bytes", "Committed and not yet in the store")
        self.store_write = self._histogram("store_write_seconds", "One write to the store", _SECONDS)
        self.store_samples = self._counter("store_samples_total", "Samples that the store has taken")
        self.store_errors = self._counter("store_errors_total", "Writes that the store could not take")
        self.faults = self._counter(
            "part_faults_total",
            "Failures of a rule, or of a duty of ingest, each of which cost itself alone",
            ["part"],
        )
        self.transitions = self._counter("alarm_transitions_total", "Changes of alarms", ["change"])
        self.alarms = self._gauge(
            "alarm_messages_waiting", "Alarm messages not yet acknowledged by their consumer"
        )

    def admitted(self, batch: Admitted) -> None:
        """Count what became of a batch's samples."""
        for (_, _, account), samples in batch.counts.items():
            if samples > 0:
                self.samples.labels(account).inc(samples)

    def text(self) -> bytes:
        """Return all figures."""
        return generate_latest(self.registry)

    def _counter(self, name: str, told: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"yemai_ingest_{name}", told, labels or [], registry=self.registry)

    def _gauge(self, name: str, told: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(f"yemai_ingest_{name}", told, labels or [], registry=self.registry)

    def _histogram(self, name: str, told: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"yemai_ingest_{name}", told, buckets=buckets, registry=self.registry)
