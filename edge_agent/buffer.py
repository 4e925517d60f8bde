"""How long the outbox lasts: bytes put a second, as measured, against what disk and budget leave.

"The buffer lasts 9.4 days" is ``room / rate``: the room is the outbox's own limit, or what the file system can
give while ``keep_free_bytes`` stay free, whichever is less.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_agent.config import OutboxConfig
    from telemetry.clock import Clock

_MEMORY_S = 3600.0  # the rate is that of about the last hour
_LEAST_S = 30.0  # of measuring, until a rate is told
_LEAST_BYTES = 64 * 1024  # of room that an agent always has


class Buffer:
    """The room of one outbox.  ``note`` is what :meth:`note` returned before a restart."""

    def __init__(self, config: OutboxConfig, clock: Clock, note: str | None = None) -> None:
        self._config, self._clock = config, clock
        self._sum, self._weight = 0.0, 0.0  # bytes and seconds, fading
        self._at = self._began = clock.monotonic()
        if note:
            self._sum, self._weight = float(note) * _MEMORY_S, _MEMORY_S

    def put(self, size: int) -> None:
        """Count bytes that were put."""
        self._fade()
        self._sum += size

    @property
    def bytes_per_s(self) -> float | None:
        """The measured rate; None until it has been measured for half a minute."""
        self._fade()
        return self._sum / self._weight if self._weight >= _LEAST_S else None

    def room(self, used: int) -> int:
        """Return how many bytes may still be put, given how many wait."""
        return max(0, self.limit(used) - used)

    def limit(self, used: int) -> int:
        """Return how many bytes may wait in all; less than configured when the disk has not so much."""
        try:
            disk = os.statvfs(self._config.path.parent)
        except OSError:
            return self._config.max_bytes
        free = disk.f_bavail * disk.f_frsize - self._config.keep_free_bytes
        return min(self._config.max_bytes, max(_LEAST_BYTES, used + free))

    def lasts_s(self, used: int) -> float | None:
        """Return for how many seconds the room suffices if nothing is freed; None until that is known."""
        rate = self.bytes_per_s
        return None if not rate else self.room(used) / rate

    def note(self) -> str | None:
        """Return what a restart should know; None while there is nothing to say."""
        rate = self.bytes_per_s
        return None if rate is None else f"{rate:.3f}"

    def _fade(self) -> None:
        now = self._clock.monotonic()
        passed = now - self._at
        self._at = now
        fade = math.exp(-passed / _MEMORY_S)
        self._sum *= fade
        self._weight = self._weight * fade + _MEMORY_S * (1 - fade)
