"""What an agent can say of itself: to the cloud in its retained status, to a technician on its own machine."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import structlog

from telemetry.certificate import days_left
from telemetry.errors import Malformed, Unavailable
from telemetry.outbox import Counters
from telemetry.quality import Quality
from telemetry.readings import AgentId, AgentStatus, ConfigState, Reading

if TYPE_CHECKING:
    from edge_agent.buffer import Buffer
    from edge_agent.config import AgentConfig
    from edge_agent.gather import Gatherer
    from edge_agent.uplink import Uplink
    from telemetry.clock import Clock
    from telemetry.keeper import Keeper


log = structlog.get_logger()


class DeviceNow(msgspec.Struct, frozen=True):
    """A device's last reading; ``age_s`` is None while it has never been heard of."""

    id: str
    profile: str
    age_s: float | None
    good: int  # readings since the start with a value that may be believed
    bad: int
    quality: str
    values: dict[str, float | None]


class BusNow(msgspec.Struct, frozen=True):
    """A bus and its devices."""

    id: str
    driver: str
    period_s: float
    devices: tuple[DeviceNow, ...]


class UplinkNow(msgspec.Struct, frozen=True):
    """The way to the cloud; ``since`` is when it was opened (UTC ms)."""

    kind: str
    to: str
    up: bool
    since: int
    problem: str
    metrics: dict[str, float]
    budget_left: int | None


class OutboxNow(msgspec.Struct, frozen=True):
    """The outbox; times in seconds, None where they are not known."""

    counters: Counters
    limit_bytes: int
    bytes_per_s: float | None
    lasts_s: float | None
    history_eta_s: float | None  # until what has waited for longer than a minute is sent
    in_memory: int  # readings that the disk has not taken yet
    trouble: str


class Snapshot(msgspec.Struct, frozen=True):
    """Everything, at one moment."""

    agent: str
    area: str
    version: str
    boot: str
    now: int
    running_s: float
    config: ConfigState
    uplink: UplinkNow
    outbox: OutboxNow
    buses: tuple[BusNow, ...]


class Board:
    """Remembers each device's last reading, and knows whom to ask for the rest."""

    def __init__(self, config: AgentConfig, clock: Clock, version: str) -> None:
        self._config, self._clock, self._version = config, clock, version
        self._began = clock.monotonic()
        self._last: dict[str, tuple[Reading, float]] = {}
        self._good: dict[str, int] = {}
        self._bad: dict[str, int] = {}
        self.config_state = ConfigState()
        self._parts: tuple[Keeper, Gatherer, Uplink, Buffer] | None = None
        self._unknown = ""

    def knows(self, keeper: Keeper, gatherer: Gatherer, uplink: Uplink, buffer: Buffer) -> None:
        """Name the parts that are asked."""
        self._parts = keeper, gatherer, uplink, buffer

    def take(self, reading: Reading) -> None:
        """Note a reading as it came from a bus."""
        self._last[reading.device] = reading, self._clock.monotonic()
        good = any(value is not None for value in reading.values.values())
        tally = self._good if good else self._bad
        tally[reading.device] = tally.get(reading.device, 0) + 1

    def answering(self) -> set[str]:
        """Return the devices whose last reading has a value."""
        return {
            d for d, (reading, _) in self._last.items() if any(v is not None for v in reading.values.values())
        }

    def telling(self, boot: str, used: int, since: int | None) -> AgentStatus:
        """Return the status since a session began; without it, the last will."""
        agent = AgentId(self._config.agent)
        if since is None or self._parts is None:
            return AgentStatus(
                agent, online=False, boot=boot, since=self._clock.now_ms(), version=self._version, config=self.config_state,
            )  # fmt: skip
        _, gatherer, uplink, buffer = self._parts
        metrics = dict(uplink.link.metrics()) if uplink.link is not None else {}
        metrics |= {"outbox_bytes": float(used), "readings_in_memory": float(gatherer.in_memory)}
        if (lasts := buffer.lasts_s(used)) is not None:
            metrics["buffer_lasts_s"] = round(lasts)
        if (left := uplink.budget.left) is not None:
            metrics["budget_left_bytes"] = float(left)
        silent = sum(
            1 for reading, _ in self._last.values() if all(v is None for v in reading.values.values())
        )
        metrics["devices_silent"] = float(silent)
        metrics |= self._machine()
        return AgentStatus(
            agent, online=True, boot=boot, since=since, now=self._clock.now_ms(), version=self._version,
            config=self.config_state, metrics=metrics,
        )  # fmt: skip

    async def snapshot(self) -> Snapshot:
        """Return everything."""
        assert self._parts is not None
        keeper, gatherer, uplink, buffer = self._parts
        config, trouble = self._config, gatherer.trouble
        try:
            counters = await keeper.counters()
        except Unavailable as error:  # of all times, this is when somebody will look
            counters, trouble = Counters(0, 0, 0, {}, 0, keeper.size, {}), str(error)
        rate = uplink.window.history_bytes_per_s
        way = config.uplink
        return Snapshot(
            config.agent,
            config.area,
            self._version,
            keeper.boot,
            self._clock.now_ms(),
            round(self._clock.monotonic() - self._began, 1),
            self.config_state,
            UplinkNow(
                way.kind, way.where(config.broker), uplink.up.is_set(), uplink.since, uplink.problem,
                dict(uplink.link.metrics()) if uplink.link is not None else {}, uplink.budget.left,
            ),
            OutboxNow(
                counters, buffer.limit(counters.bytes), buffer.bytes_per_s, buffer.lasts_s(counters.bytes),
                counters.bytes / rate if rate and uplink.window.until else None, gatherer.in_memory, trouble,
            ),
            tuple(
                BusNow(
                    bus.id, bus.module.__name__.rpartition(".")[2], bus.period_s,
                    tuple(self._device(device.id, device.profile.id) for device in bus.devices),
                )
                for bus in config.buses
            ),
        )  # fmt: skip

    def _machine(self) -> dict[str, float]:
        """What the cloud watches beside the link: the disk of the outbox, and our certificate."""
        found = {}
        try:
            usage = shutil.disk_usage(self._config.outbox.path.parent)
            found["disk_used"] = round(100 * (usage.total - usage.free) / usage.total, 1)
            broker = self._config.broker
            if broker is not None and broker.certificate is not None:
                found["certificate_days"] = round(days_left(broker.certificate, self._clock.now_ms()), 2)
        except (OSError, Unavailable, Malformed) as error:
            if str(error) != self._unknown:
                log.warning("own_state_unknown", problem=str(error))
            self._unknown = str(error)
        return found

    def _device(self, device: str, profile: str) -> DeviceNow:
        last = self._last.get(device)
        good, bad = self._good.get(device, 0), self._bad.get(device, 0)
        if last is None:
            return DeviceNow(device, profile, None, good, bad, "", {})
        reading, at = last
        worst = max((Quality(q) for q in reading.quality.values()), default=Quality.GOOD)
        return DeviceNow(
            device, profile, round(self._clock.monotonic() - at, 1), good, bad, worst.name.lower(),
            {str(name): value for name, value in reading.values.items()},
        )  # fmt: skip
