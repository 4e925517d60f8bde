"""Ingest's own figures over an hour, told by the very objects that ``/metrics`` is made of."""

from cloud_ingest.fleet import Fleet
from cloud_ingest.metrics import Metrics
from telemetry.readings import AgentId, AgentStatus

EVERY_MS = 15_000
ACCOUNTS = ("received", "quarantined:unknown_device")


class Agents:
    def agents(self):
        figures = {
            "buffer_lasts_s": 86_400.0,
            "outbox_bytes": 4096.0,
            "devices_silent": 1.0,
            "signal_dbm": -83.0,
            "bus_utilisation_rtu": 0.62,
            "certificate_days": 200.0,
            "disk_used": 41.0,
        }
        return [AgentStatus(AgentId("edge-01"), online=True, boot="b", since=0, metrics=figures)]


def scrapes(first_ms, last_ms):
    metrics = Metrics()
    metrics.registry.register(Fleet(Agents()))
    for at in range(first_ms, last_ms, EVERY_MS):
        metrics.messages.inc(30)
        for account in ACCOUNTS:
            metrics.samples.labels(account).inc(300)
        for histogram in (metrics.commit, metrics.ack_latency, metrics.store_write):
            histogram.observe(0.02)
        metrics.batch_messages.observe(30)
        metrics.lag.set(0.4)
        metrics.queue.set(3)
        metrics.waiting.set(1024)
        metrics.store_samples.inc(300)
        metrics.store_errors.inc(0)
        metrics.transitions.labels("began").inc(0.1)
        metrics.alarms.set(0)
        yield at, metrics.text()
