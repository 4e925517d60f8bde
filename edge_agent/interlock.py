"""Actuators are spared, whoever asks: the least time between two actions, the most an hour.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.errors import Refused

if TYPE_CHECKING:
    from device_profiles.profile import Interlock

_HOUR_MS = 3_600_000


class Interlocks:
    """Remembers when each actuator acted, in UTC ms; :attr:`acted` is what has to survive a restart."""

    def __init__(self, acted: dict[str, list[int]] | None = None) -> None:
        self.acted = acted or {}

    def check(self, actuator: str, rule: Interlock, now_ms: int) -> None:
        """Raise :class:`Refused`, with when it may act again, where the rule does not allow it now."""
        times = [at for at in self.acted.get(actuator, ()) if at <= now_ms]  # a clock set back bars nobody
        if times and rule.dwell_s and now_ms < times[-1] + rule.dwell_s * 1000:
            left_s = (times[-1] - now_ms) / 1000 + rule.dwell_s
            raise Refused(
                f"{actuator} acted just now and must rest {rule.dwell_s:g} s; again in {left_s:.0f} s"
            )
        recent = [at for at in times if at > now_ms - _HOUR_MS]
        if rule.most_per_hour and len(recent) >= rule.most_per_hour:
            left_s = (recent[0] + _HOUR_MS - now_ms) / 1000
            raise Refused(
                f"{actuator} has acted {len(recent)} times within an hour, {rule.most_per_hour} are allowed;"
                f" again in {left_s:.0f} s"
            )

    def note(self, actuator: str, now_ms: int) -> None:
        """Note an action."""
        times = [at for at in self.acted.get(actuator, ()) if now_ms - _HOUR_MS < at <= now_ms]
        self.acted[actuator] = [*times, now_ms]

    def forget(self, actuator: str, now_ms: int) -> None:
        """Take back a note of what was not begun after all."""
        self.acted[actuator].remove(now_ms)
