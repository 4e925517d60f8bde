"""Mistakes in ``edge.toml`` that its types cannot see: numbers out of range, names that cannot be, ports used twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from telemetry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from edge_agent.config import BusEntry, OutboxConfig
    from telemetry.broker import BrokerConfig

USUAL_BAUDS = (1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200)
_BAUDS = (300, 4_000_000)
_LEAST_OUTBOX = 4096
_TIMEOUTS_S = (0.02, 60.0)
_LONGEST_NAME = 64


class Mistakes:
    """Collects the mistakes of a file, so that all of a bus or of several are told at once: ``with mistakes: …``."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def __enter__(self) -> None:
        """Begin something that may be wrong by itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Keep a mistake, and go on behind the block."""
        if isinstance(error, ConfigError):
            self.note(error)
        return isinstance(error, ConfigError)

    def note(self, error: ConfigError) -> None:
        """Keep a mistake."""
        self._found.append(error)

    def tell(self) -> None:
        """Raise what was found, if anything was."""
        if self._found:
            raise ConfigError.together(self._found)


def check_name(path: Path, at: str, name: str) -> None:
    """Refuse an id that cannot be told in logs, topics and file names."""
    if not name or len(name) > _LONGEST_NAME or any(sign.isspace() or sign in "/+#" for sign in name):
        raise ConfigError(
            path,
            at,
            f"'{name}' is no id",
            hint=f"1 to {_LONGEST_NAME} characters, no blanks and none of / + #",
        )


def check_link(path: Path, at: str, link: Any) -> None:
    """Refuse a link whose numbers no line or network has."""
    for key in ("port", "tcp_port", "udp_port"):
        number = getattr(link, key, None)
        if not isinstance(number, int) or (key == "tcp_port" and link.port):
            continue
        if not 0 < number <= 65_535:
            raise ConfigError(path, f"{at}.{key}", f"{number} is no port", hint="1 to 65535")
    baud = getattr(link, "baud", None)
    if baud is not None and not _BAUDS[0] <= baud <= _BAUDS[1]:
        raise ConfigError(
            path,
            f"{at}.baud",
            f"no line has {baud} baud",
            hint=f"usual are {', '.join(map(str, USUAL_BAUDS))}",
        )


def check_timeout(path: Path, at: str, entry: BusEntry) -> None:
    """Refuse a time-out that no answer can keep, or that a bus cannot wait for."""
    low, high = _TIMEOUTS_S
    if entry.timeout_s is not None and not low <= entry.timeout_s <= high:
        raise ConfigError(
            path, f"{at}.timeout_s", f"{entry.timeout_s:g} s is not within {low} and {high:g}",
            hint="leave it out for the profiles' own",
        )  # fmt: skip


def check_outbox(path: Path, outbox: OutboxConfig) -> None:
    """Refuse an outbox that can keep nothing."""
    if outbox.max_bytes < _LEAST_OUTBOX:
        raise ConfigError(
            path, "$.outbox.max_bytes", f"{outbox.max_bytes} bytes hold not even one upload",
            hint=f"at least {_LEAST_OUTBOX}; leave it out for 256 MiB",
        )  # fmt: skip
    if outbox.keep_free_bytes < 0:
        raise ConfigError(
            path,
            "$.outbox.keep_free_bytes",
            f"{outbox.keep_free_bytes} is negative",
            hint="0 keeps nothing free",
        )
    if outbox.path.is_dir():
        raise ConfigError(path, "$.outbox.path", f"{outbox.path} is a folder", hint="name a file in it")


def check_broker(path: Path, broker: BrokerConfig | None) -> None:
    """Refuse a broker that cannot be called."""
    if broker is None:
        return
    if not broker.host.strip():
        raise ConfigError(path, "$.broker.host", "is empty", hint="a name or an address")
    if not 0 < broker.port <= 65_535:
        raise ConfigError(
            path, "$.broker.port", f"{broker.port} is no port", hint="1 to 65535; 1883, or 8883 with ca"
        )
    if not 0 < broker.keepalive_s <= 3600:
        raise ConfigError(path, "$.broker.keepalive_s", f"{broker.keepalive_s} s is not within 1 and 3600")


def check_ports_once(path: Path, links: Sequence[tuple[str, Any]]) -> None:
    """Refuse a serial port that two would use: each would hear the other's answers.

    ``links`` are the links with their places in the file.
    """
    users: dict[str, str] = {}
    for at, link in links:
        port = getattr(link, "port", None)
        if not isinstance(port, str) or not port:
            continue
        if port in users:
            raise ConfigError(
                path, f"{at}.port", f"{port} is used by {users[port]} already",
                hint="one bus for all devices on a line, with their unit ids",
            )  # fmt: skip
        users[port] = at
