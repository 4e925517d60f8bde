"""What ``center.toml`` says of people and machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from command_center.people.rights import OF_PEOPLE_ONLY, RIGHTS, Right
from telemetry.errors import did_you_mean

Rate = Annotated[int, msgspec.Meta(ge=6, le=1_000_000)]
"""Requests a minute, a sixth of them at once; looking, doing and acknowledging each have so many."""


class KeyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine's key, as ``yemai center key`` makes it; the key itself is not kept."""

    name: str
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    rights: tuple[str, ...] = ("read",)
    per_minute: Rate = 3000


class PeopleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How people prove who they are and how long it holds, and the keys of machines."""

    second_factor: bool = True
    codes_key: Path | None = None
    """The key that the secrets of one-time codes are sealed with, made at the first start; beside the database."""
    idle_min: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    """Who does nothing for so long may look on but must sign in again to do something."""
    longest_h: Annotated[float, msgspec.Meta(gt=0)] = 12.0
    """A session ends after so long in any case."""
    wall_days: Annotated[float, msgspec.Meta(gt=0)] = 90.0
    session_per_minute: Rate = 3000
    """Of one browser that is signed in, or one screen on a wall."""
    address_per_minute: Rate = 3000
    """Of all who are not signed in and hold no key, behind one address."""
    keys: tuple[KeyConfig, ...] = ()

    def problem(self) -> tuple[str, str] | None:
        """Return the path and the words of what is wrong with the keys, or None."""
        grantable = sorted(RIGHTS - OF_PEOPLE_ONLY)
        for n, key in enumerate(self.keys):
            if any(key.name == other.name for other in self.keys[:n]):
                return f"keys[{n}].name", f"there are two keys '{key.name}'"
            for right in key.rights:
                if right in OF_PEOPLE_ONLY:
                    return f"keys[{n}].rights", f"'{right}' is for people only, no key may hold it"
                if right not in grantable:
                    return f"keys[{n}].rights", f"no right '{right}'; {did_you_mean(right, grantable)}"
        return None


def rights_of_key(key: KeyConfig) -> frozenset[Right]:
    """Return the rights that a checked key holds."""
    return frozenset(right for right in RIGHTS if right in key.rights)
