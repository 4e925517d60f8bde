"""Which packs judge: the shipped ones and those of a folder, read again when that changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from device_profiles.vocabulary import load_platform
from rules.engine import Engine
from rules.pack import FOLDER, PLATFORM, load_packs
from rules.topology import Spot, Topology
from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cloud_ingest.registry import Registry
    from device_profiles.vocabulary import DeviceClass

log = structlog.get_logger()


class Packs:
    """The shipped packs, of devices and of the platform; ``<class>.yaml`` in ``folder`` takes the place of one.

    ``<class>.shadow.yaml`` is tried beside it.
    """

    def __init__(self, folder: Path | None, classes: Mapping[str, DeviceClass]) -> None:
        self._folder, self._classes = folder, {**classes, **load_platform()}
        self._seen = self._look()
        self._new: Engine | None = None  # not yet in force

    def engine(self) -> Engine:
        """Return an engine with the packs as they are; raise :class:`ConfigError`."""
        own = {path.name: path for path in self._own()}
        shipped = sorted([*FOLDER.glob("*.yaml"), *PLATFORM.glob("*.yaml")])
        files = [*(path for path in shipped if path.name not in own), *own.values()]
        return Engine(load_packs(files), self._classes)

    def renew(self, judge_by: Callable[[Engine], None]) -> None:
        """Have it judged by what the folder has changed to; what could not be taken over is new the next time too."""
        self._new = self.changed() or self._new
        if self._new is not None:
            judge_by(self._new)
            self._new = None

    def changed(self) -> Engine | None:
        """Return a new engine where the folder has changed to something that can be used, None otherwise.

        A mistake is told once; until it is mended the packs in force stay so.
        """
        seen = self._look()
        if seen == self._seen:
            return None
        self._seen = seen
        try:
            engine = self.engine()
        except ConfigError as error:
            log.error(
                "packs_refused", problem=str(error), way_out="mend the file; the packs in force stay so"
            )
            return None
        log.info("packs_changed", folder=str(self._folder), files=[name for name, *_ in seen])
        return engine

    def _own(self) -> list[Path]:
        if self._folder is None:
            return []
        if not self._folder.is_dir():
            hint = "make the folder, or leave [rules] away"
            raise ConfigError(self._folder, "$", "is no folder", hint=hint)
        return sorted(self._folder.glob("*.yaml"))

    def _look(self) -> list[tuple[str, int, int]]:
        try:
            return [(p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in self._own()]
        except OSError:  # a file went away between two looks: the next look tells
            return []


def topology_of(registry: Registry, area: str) -> Topology:
    """Return what hangs on what; a site without a district of its own lies in ``area``."""
    district = {site.id: site.district or area for site in registry.sites.values()}
    return Topology(
        {
            d.id: Spot(d.agent, "", d.site, district.get(d.site, area), d.period_s, d.bus)
            for d in registry.devices.values()
        }
    )
