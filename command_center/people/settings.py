"""What ``center.toml`` says of people and machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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


Profile = Literal["asvs", "djbh3"]


class Policy(msgspec.Struct, frozen=True):
    """What a profile asks of people."""

    idle_min: float
    kinds: int = 1
    """Of how many kinds (capitals, small letters, digits, all else) a password's characters are, at least."""
    password_days: int | None = None
    """After so many days a password is to be changed; None for never."""
    one_session: bool = False
    """Who signs in ends his other sessions."""


POLICIES: dict[Profile, Policy] = {
    "asvs": Policy(idle_min=30),
    "djbh3": Policy(idle_min=15, kinds=3, password_days=90, one_session=True),
}
"""OWASP ASVS 5.0 forbids rules on kinds of characters and forced change (6.2.5, 6.2.10); GB/T 22239 level 3 (等保三级) wants
both (8.1.4.1 a), and two factors (d)."""


class PeopleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How people prove who they are and how long it holds, and the keys of machines."""

    second_factor: bool = True
    codes_key: Path | None = None
    """The key that the secrets of one-time codes are sealed with, made at the first start; beside the database."""
    profile: Profile = "asvs"
    idle_min: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Who does nothing for so long may look on but must sign in again to do something; left out: as the profile says."""
    prove_again_min: Annotated[float, msgspec.Meta(ge=0)] = 15.0
    """Who approves or undoes an action or signs a warning has signed in within so long; 0 never asks again."""
    longest_h: Annotated[float, msgspec.Meta(gt=0)] = 12.0
    """A session ends after so long in any case."""
    wall_days: Annotated[float, msgspec.Meta(gt=0)] = 90.0
    session_per_minute: Rate = 3000
    """Of one browser that is signed in, or one screen on a wall."""
    address_per_minute: Rate = 3000
    """Of all who are not signed in and hold no key, behind one address."""
    keys: tuple[KeyConfig, ...] = ()

    @property
    def policy(self) -> Policy:
        """What the profile asks, with the idle time that holds."""
        policy = POLICIES[self.profile]
        return policy if self.idle_min is None else msgspec.structs.replace(policy, idle_min=self.idle_min)

    def problem(self) -> tuple[str, str] | None:
        """Return the path and the words of what is wrong with the profile or the keys, or None."""
        if self.profile == "djbh3":
            most = POLICIES["djbh3"].idle_min
            if not self.second_factor:
                return "second_factor", "the profile 'djbh3' wants two factors"
            if self.policy.idle_min > most:
                return (
                    "idle_min",
                    f"{self.policy.idle_min:g} is longer than the profile 'djbh3' allows: {most:g}",
                )
        return self._problem_of_keys()

    def _problem_of_keys(self) -> tuple[str, str] | None:
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
