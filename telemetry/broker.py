"""Where the MQTT broker is: the ``[broker]`` table of every configuration."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec

from telemetry.config import Secret
from telemetry.errors import Unavailable


class BrokerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Host and port, and who we are there; ``keepalive_s`` is how long a dead link may go unnoticed.

    With ``ca`` the link is encrypted, and nothing is believed that this authority has not signed; ``certificate`` and
    ``key`` (PEM) say who we are.
    """

    host: str
    port: int = 1883
    username: str | None = None
    password: Secret | None = None
    keepalive_s: int = 30
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def secret(self) -> str | None:
        """The password itself, for the one call that needs it."""
        return None if self.password is None else self.password.reveal()

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The context of an encrypted link, None for a plain one; read anew, for certificates are renewed."""
        if self.ca is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(self.ca)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            named = ", ".join(str(path) for path in (self.ca, self.certificate, self.key) if path)
            raise Unavailable(f"broker certificates ({named}): {error.strerror or error}") from None
        return context
