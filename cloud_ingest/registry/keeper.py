"""The keeper: the registry as the running ingest uses it, renewed when a file or the database changes."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import structlog

from cloud_ingest.registry.approval import Sighting, cursor, note_sightings
from cloud_ingest.registry.database import Database
from cloud_ingest.registry.importing import Order, Report, run_import
from cloud_ingest.registry.mistakes import first_of
from cloud_ingest.registry.model import DENIED_DEVICE, RETIRED_DEVICE, UNKNOWN_PROFILE, Registry
from cloud_ingest.registry.sheets import read_sheets
from device_profiles.loading import load_catalogue
from telemetry.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from cloud_ingest.config import RegistryConfig
    from cloud_ingest.reader import LedgerReader
    from cloud_ingest.registry.sheets import Kind
    from telemetry.clock import Clock
    from telemetry.readings import AgentStatus

_MOST = 20_000  # quarantine entries looked at together
log = structlog.get_logger()


class Keeper:
    """Owns the database.  All of it blocks; :class:`Renewal` calls it on a thread."""

    def __init__(self, config: RegistryConfig, producer: str, clock: Clock) -> None:
        self._config, self._producer, self.clock = config, producer, clock
        self.profiles = load_catalogue()
        self.database = Database(config.database, self.profiles, config.password)
        self.registry = Registry({}, {})
        """What holds now."""
        self.problem = ""
        """Why it cannot be renewed, ``""`` when it can."""
        self.bounds, self.datum = config.bounds, config.datum
        self._revision = -1
        self._files: tuple[Any, ...] = ()
        self._wrong: ConfigError | None = None  # with the files as they are
        self._upto = 0  # entry of the quarantine
        self._greeted: dict[str, int] = {}

    def open(self) -> Registry:
        """Bring the database up to date, take the files in, and return what holds; raise :class:`ConfigError`."""
        self.database.open()
        self._upto = cursor(self.database, self._producer)
        self._take_files()
        self.renew()
        return self.registry

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def look(self, ledger: LedgerReader, agents: Iterable[AgentStatus]) -> None:
        """Take changed files in, renew the registry, and see who is unannounced."""
        try:
            report = self._take_files()
            if report is not None and report.applied:
                log.info("registry_files_taken", changes=len(report.changes), unchanged=report.unchanged)
        finally:  # a file with a mistake in it holds nothing else up
            self.renew()
            self._see(ledger, agents)

    def renew(self) -> None:
        """Load the registry when its revision is another."""
        revision = self.database.revision()
        if revision == self._revision:
            return
        contents = self.database.contents()
        denied, out = (
            {name for name, told in self.database.decisions(kind).items() if not told.allowed}
            for kind in ("agent", "device")
        )
        why, usable = dict.fromkeys(out, DENIED_DEVICE), {}
        for device in contents.devices.values():
            if device.retired_on:
                why[device.id] = RETIRED_DEVICE
            elif not device.device_class:
                why[device.id] = UNKNOWN_PROFILE
                log.error(
                    "unknown_profile", device=device.id, profile=device.profile,
                    way_out="add its profile, or import the device with another",
                )  # fmt: skip
            elif device.agent not in denied:
                usable[device.id] = device
        self.registry, self._revision = Registry(contents.sites, usable, why, frozenset(denied)), revision

    # -- inside ----------------------------------------------------------------------------------------

    def _take_files(self) -> Report | None:
        devices, sites = self._config.devices, self._config.sites
        if devices is None or sites is None:
            return None
        stamp = (_stamp(sites), _stamp(devices))
        if stamp == self._files:
            if self._wrong is not None:
                raise self._wrong
            return None
        given: tuple[tuple[Path, Kind], ...] = ((sites, "sites"), (devices, "devices"))
        read = [(path, kind, _bytes(path)) for path, kind in given]
        digest = self._digest([data for _, _, data in read])
        if digest == self.database.taken_files(self._producer):  # what was changed by hand since then stays
            self._files, self._wrong = stamp, None
            return None
        sheets = [sheet for path, kind, data in read for sheet in read_sheets(path, data, kind)]
        order = Order(
            "configuration", self.clock.now_ms(), self._config.bounds, self._config.datum, missing="retire",
            origin="file", only_origin=True,
        )  # fmt: skip
        report = run_import(self.database, sheets, order, self.profiles)
        self._files, self._wrong = stamp, first_of(report.mistakes) if report.mistakes else None
        if self._wrong is not None:
            raise self._wrong
        self.database.note_files(self._producer, digest)
        return report

    def _digest(self, files: Iterable[bytes]) -> str:
        """Return what tells two versions of the files apart, and of all that they are checked against."""
        seen = hashlib.sha256(repr((self._config.bounds, self._config.datum, sorted(self.profiles))).encode())
        for data in files:
            seen.update(len(data).to_bytes(8, "big") + data)
        return seen.hexdigest()

    def _see(self, ledger: LedgerReader, agents: Iterable[AgentStatus]) -> None:
        self._upto, entries = ledger.unannounced(self._upto, _MOST)
        known = {device.agent for device in self.registry.devices.values()}
        found: dict[tuple[str, str, str], Sighting] = {}

        def see(kind: Any, name: str, agent: str, at_ms: int) -> None:
            before = found.get((kind, name, agent))
            first, times = (before.first_ms, before.times + 1) if before else (at_ms, 1)
            found[kind, name, agent] = Sighting(kind, name, agent, first, at_ms, times)

        for agent, device, at_ms in entries:
            see("device", device, agent, at_ms)
            if agent not in known:
                see("agent", agent, agent, at_ms)
        for status in agents:
            if status.agent not in known and self._greeted.get(status.agent) != status.since:
                self._greeted[status.agent] = status.since
                see("agent", status.agent, status.agent, self.clock.now_ms())
        if found:
            note_sightings(self.database, found.values(), self._producer, self._upto)


class Renewal:
    """Keeps the running ingest on the registry as it is."""

    def __init__(
        self,
        keeper: Keeper,
        on_thread: Callable[..., Awaitable[Any]],
        use: Callable[[Registry], Awaitable[None]],
        ledger: LedgerReader,
        agents: Callable[[], Iterable[AgentStatus]],
    ) -> None:
        self._keeper, self._on_thread, self._use = keeper, on_thread, use
        self._ledger, self._agents = ledger, agents
        self._one_at_a_time = asyncio.Lock()
        self._in_use = keeper.registry

    async def refresh(self) -> None:
        """Look for changes now, and return when they are in force."""
        keeper, problem = self._keeper, ""
        async with self._one_at_a_time:
            try:
                await self._on_thread(keeper.look, self._ledger, list(self._agents()))
            except (ConfigError, Unavailable) as error:
                problem = str(error)
            try:
                if keeper.registry is not self._in_use:
                    await self._use(registry := keeper.registry)
                    self._in_use = registry
            except Unavailable as error:  # the ledger's disk refuses: the next look tries again
                problem = problem or str(error)
        if problem and problem != keeper.problem:
            log.error("registry_not_renewed", problem=problem, way_out="what held before still holds")
        elif keeper.problem and not problem:
            log.info("registry_renewed")
        keeper.problem = problem


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(path, "$", f"cannot be read: {error.strerror}") from None


def _stamp(path: Path) -> tuple[int, int]:
    try:
        told = path.stat()
    except OSError as error:
        raise ConfigError(path, "$", f"cannot be read: {error.strerror}") from None
    return told.st_mtime_ns, told.st_size
