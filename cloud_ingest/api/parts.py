"""What the API's resources have in common: the parts of ingest that they ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import HTTPException

from telemetry.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from cloud_ingest.api.live import Live
    from cloud_ingest.latest import Latest
    from cloud_ingest.metrics import Metrics
    from cloud_ingest.reader import LedgerReader
    from cloud_ingest.registry.keeper import Keeper
    from cloud_ingest.registry.model import Device, Registry
    from cloud_ingest.source import Source
    from cloud_ingest.store import Store
    from device_profiles.vocabulary import DeviceClass
    from telemetry.clock import Clock
    from telemetry.transitions import Transition


@dataclass(frozen=True)
class Parts:
    """Ingest, as far as the API needs it; ``refresh`` makes the pipeline use the registry as it now is."""

    keeper: Keeper
    refresh: Callable[[], Awaitable[None]]
    classes: Mapping[str, DeviceClass]
    store: Store
    store_problem: Callable[[], str]
    ledger: LedgerReader
    ledger_path: Path
    latest: Latest
    shadows: Callable[[], tuple[list[Transition], list[Transition]]]
    live: Live
    source: Source
    clock: Clock
    metrics: Metrics

    @property
    def registry(self) -> Registry:
        """The sites and devices that are in service."""
        return self.keeper.registry

    def device(self, name: str) -> Device:
        """Return a device in service, or answer 404."""
        device = self.registry.devices.get(name)
        if device is None:
            raise HTTPException(404, f"no device '{name}'; {did_you_mean(name, self.registry.devices)}")
        return device


def known(what: str, name: str | None, choices: Iterable[str]) -> None:
    """Answer 404 for a filter that names what there is not."""
    choices = list(choices)
    if name is not None and name not in choices:
        raise HTTPException(404, f"no {what} '{name}'; {did_you_mean(name, choices)}")
