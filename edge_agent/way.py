"""``[uplink]``: which way an agent goes to the cloud, and what it may cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from telemetry import plugins
from telemetry.config import convert
from telemetry.errors import ConfigError, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.link import UplinkModule
    from telemetry.broker import BrokerConfig

_LEAST_BUDGET = 10_000


class UplinkEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``[uplink]`` table; without it, MQTT to the ``[broker]``."""

    kind: str = "mqtt"
    link: dict[str, Any] = {}
    history_share: float = 0.5
    budget_bytes_per_day: int | None = None


class Way(msgspec.Struct, frozen=True):
    """The ``[uplink]`` with everything looked up."""

    kind: str
    module: Any  # an UplinkModule
    link: Any  # the module's Config
    history_share: float
    budget_bytes_per_day: int | None

    @property
    def largest_bytes(self) -> int:
        """What the way can carry at all; what is larger waits for another way."""
        return int(getattr(self.link, "largest_bytes", self.module.LARGEST_BYTES))

    def where(self, broker: BrokerConfig | None) -> str:
        """Name the other end, for people."""
        named: str = getattr(self.link, "where", "")
        return named or (f"{broker.host}:{broker.port}" if broker is not None else self.kind)


def look_up(path: Path, entry: UplinkEntry, broker: BrokerConfig | None) -> Way:
    """Check the table; raise :class:`ConfigError` with file, field, value and way out."""
    try:
        module = cast("UplinkModule", cast("Any", plugins.load("edge_agent.uplinks", entry.kind)))
    except Refused as error:
        raise ConfigError(path, "$.uplink.kind", str(error)) from None
    link = convert(entry.link, module.Config, file=path, at="$.uplink.link")
    if broker is None and not getattr(link, "host", ""):
        raise ConfigError(
            path,
            "$.broker",
            f"missing, and an uplink of kind '{entry.kind}' needs it",
            hint="add [broker] with host",
        )
    if not 0 < entry.history_share <= 1:
        raise ConfigError(
            path,
            "$.uplink.history_share",
            f"{entry.history_share:g} is not within 0 and 1",
            hint="0.5 gives history half of the way's time",
        )
    budget = entry.budget_bytes_per_day
    if budget is not None and budget < _LEAST_BUDGET:
        raise ConfigError(
            path,
            "$.uplink.budget_bytes_per_day",
            f"{budget} does not carry a day's alarms",
            hint=f"at least {_LEAST_BUDGET}; leave it away for no limit",
        )
    return Way(entry.kind, module, link, entry.history_share, budget)
