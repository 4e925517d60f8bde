"""Passwords: argon2id, and a rule by length and by how soon a guesser would come to them, not by kinds of characters."""

from __future__ import annotations

import asyncio
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY
from zxcvbn import zxcvbn

from telemetry.errors import Refused

SHORTEST, LONGEST = 10, 128
_WEIGHED = 72  # zxcvbn reads no more
_GOOD = 3  # of 0 to 4: more than 10^8 guesses
_AT_ONCE = 2  # each takes 64 MiB for a tenth of a second


class Passwords:
    """Hashes and verifies in a thread, few at once."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """Return an argon2id hash, with its salt and parameters."""
        async with self._turn:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, kept: str, password: str) -> bool:
        """Return whether it is the password; for '' (nobody, or nobody yet) it takes as long and is never."""
        if not self._nobody:
            self._nobody = await self.hash(secrets.token_urlsafe())
        async with self._turn:
            return await asyncio.to_thread(self._is, kept or self._nobody, password) and bool(kept)

    def _is(self, kept: str, password: str) -> bool:
        try:
            return self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return False


def judge(password: str, *names: str, kinds: int = 1) -> None:
    """Raise :class:`Refused` for a password that is too short, too long, too easy to guess or of too few kinds of characters."""
    if len(password) < SHORTEST:
        raise Refused(f"password: at least {SHORTEST} characters")
    if len(password) > LONGEST:
        raise Refused(f"password: at most {LONGEST} characters")
    if kinds_of(password) < kinds:
        raise Refused(
            f"password: too few kinds; at least {kinds} of capitals, small letters, digits and other characters"
        )
    told = zxcvbn(password[:_WEIGHED], user_inputs=["yemai", *filter(None, names)])
    if told["score"] < _GOOD:
        raise Refused(f"password: too easy to guess; {told['feedback']['warning'] or 'make it longer'}")


def kinds_of(password: str) -> int:
    """Return of how many kinds its characters are: capitals, small letters, digits, all else.

    >>> kinds_of("abc"), kinds_of("Abc1"), kinds_of("七月 Abc1")
    (1, 3, 4)
    """
    ascii_ = [one if one.isascii() else " " for one in password]
    tests = (str.isupper, str.islower, str.isdigit, lambda one: not one.isalnum())
    return sum(any(test(one) for one in ascii_) for test in tests)
