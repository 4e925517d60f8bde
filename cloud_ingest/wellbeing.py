"""What ingest sees of its agents and of itself, as readings that the packs in ``rules/platform/`` judge.

A certificate that ends, a disk that fills, a store that is away: each is an alarm on the desk like any other, and
reaches whoever has the duty.  The readings go no further than the rules; their history is Prometheus's.
"""

from __future__ import annotations

import asyncio
import shutil
import ssl
from typing import TYPE_CHECKING

import structlog

from device_profiles.vocabulary import load_platform
from rules.frame import Frame
from telemetry.certificate import days_left
from telemetry.errors import Malformed, Unavailable
from telemetry.readings import DeviceId, MetricName, Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from cloud_ingest.config import IngestConfig
    from cloud_ingest.ledger import Ledger
    from cloud_ingest.registry import Registry
    from cloud_ingest.source import Source
    from telemetry.clock import Clock
    from telemetry.readings import AgentStatus

AGENT, INGEST = "edge_agent", "ingest"
EVERY_S = 30.0
_BROKER_S = 3600.0  # the broker notes each look in its log
_TIMEOUT_S = 10.0
_DAY_S = 86_400.0
log = structlog.get_logger()


def devices_of(registry: Registry, producer: str) -> dict[str, str]:
    """Return the programs that are judged, by id, each with its class: the agents of the registry and ingest itself."""
    return {device.agent: AGENT for device in registry.devices.values()} | {producer: INGEST}


class Wellbeing:
    """``await look()`` measures what takes time, ``frames`` says it."""

    def __init__(
        self, config: IngestConfig, source: Source, ledger: Ledger, store_problem: Callable[[], str], clock: Clock
    ) -> None:  # fmt: skip
        self._config, self._source, self._ledger = config, source, ledger
        self._store_problem, self._clock = store_problem, clock
        self._measured: dict[str, float] = {}
        self._unknown = ""
        self._broker_at = -_BROKER_S
        self._broker_ends_s: float | None = None

    async def look(self) -> None:
        """Look at the disk, at our certificate and, once an hour, at the broker's."""
        self._measured = await asyncio.to_thread(self._on_disk)
        if self._clock.monotonic() - self._broker_at >= _BROKER_S:
            self._broker_at = self._clock.monotonic()
            self._broker_ends_s = await self._of_broker()
        if self._broker_ends_s is not None:
            left = self._broker_ends_s - self._clock.now_ms() / 1000
            self._measured["broker_certificate_days"] = left / _DAY_S

    def frames(self, agents: frozenset[str], *, broken: int = 0) -> list[Frame]:
        """Return what is known now of ``agents`` and of ingest, ``broken`` parts of which failed lately.

        What an agent that is away had said is no news.
        """
        now, classes = self._clock.now_ms(), load_platform()
        waiting = 100 * self._ledger.frames.waiting_bytes / self._config.ledger.waiting_bytes
        own = self._measured | {
            "waiting": waiting, "store": float(bool(self._store_problem())), "faults": float(self._ledger.faults),
            "broken": float(broken),
        }  # fmt: skip
        told = [
            _reading(status.agent, now, _figures(status))
            for status in self._source.agents()
            if status.online and status.agent in agents and _figures(status)
        ]
        mine = _reading(self._config.producer, now, own)
        return [Frame.of(found, classes[name]) for name, found in ((AGENT, told), (INGEST, [mine])) if found]

    def _on_disk(self) -> dict[str, float]:
        found = {}
        try:
            usage = shutil.disk_usage(self._config.ledger.path.parent)
            found["disk_used"] = 100 * (usage.total - usage.free) / usage.total
            if self._config.broker.certificate is not None:
                found["certificate_days"] = days_left(self._config.broker.certificate, self._clock.now_ms())
        except (OSError, Unavailable, Malformed) as error:
            if str(error) != self._unknown:
                log.warning("own_state_unknown", problem=str(error))
            self._unknown = str(error)
        return found

    async def _of_broker(self) -> float | None:
        """Return when the certificate ends that the broker shows, in seconds of UTC; None without TLS or a broker."""
        broker = self._config.broker
        try:
            if (context := broker.tls) is None:
                return None
            async with asyncio.timeout(_TIMEOUT_S):
                _, writer = await asyncio.open_connection(broker.host, broker.port, ssl=context)
                certificate = writer.get_extra_info("peercert")
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, Unavailable) as error:  # ssl.SSLError is an OSError
            log.warning("broker_certificate_unknown", problem=str(error))
            return None
        return float(ssl.cert_time_to_seconds(certificate["notAfter"]))


def _figures(status: AgentStatus) -> dict[str, float]:
    figures: dict[str, float] = {
        name: status.metrics[name]
        for name in ("certificate_days", "disk_used", "readings_in_memory")
        if name in status.metrics
    }
    if (lasts := status.metrics.get("buffer_lasts_s")) is not None:
        figures["buffer_lasts"] = lasts / 3600
    return figures


def _reading(program: str, now: int, figures: dict[str, float]) -> Reading:
    return Reading(DeviceId(program), now, {MetricName(name): value for name, value in figures.items()})
