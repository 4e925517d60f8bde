"""Where the MQTT broker is: the ``[broker]`` table of every configuration."""

from __future__ import annotations

import msgspec

from telemetry.config import Secret


class BrokerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Host and port, and who we are there; ``keepalive_s`` is how long a dead link may go unnoticed."""

    host: str
    port: int = 1883
    username: str | None = None
    password: Secret | None = None
    keepalive_s: int = 30

    @property
    def secret(self) -> str | None:
        """The password itself, for the one call that needs it."""
        return None if self.password is None else self.password.reveal()
