"""Who may ask: keys with scopes and a rate each.

A key is 32 random bytes, so its SHA-256 is as good as a slow hash: there is nothing to guess.  The configuration holds the
hash alone.  Without keys everybody may everything, which is why ingest then listens on the loopback only.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from telemetry.bucket import Bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cloud_ingest.config import KeyConfig, Scope
    from telemetry.clock import Clock

_PREFIX = "yemai_"
_INCLUDES = {"read": ("read",), "registry": ("read", "registry"), "admin": ("read", "registry", "admin")}

_bearer = HTTPBearer(auto_error=False, description="Authorization: Bearer KEY")
_header = APIKeyHeader(name="X-API-Key", auto_error=False)


def make_key() -> tuple[str, str]:
    """Return a new key and its hash."""
    key = _PREFIX + base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """Return the SHA-256 of a key in hexadecimal.

    >>> hash_of("yemai_x")[:8]
    'b6d9548a'
    """
    return hashlib.sha256(key.encode()).hexdigest()


class Access:
    """Checks keys and counts their requests."""

    def __init__(self, keys: Sequence[KeyConfig], clock: Clock) -> None:
        self._keys = {key.sha256: key for key in keys}
        self._buckets = {key.name: Bucket(key.per_minute, clock) for key in keys}

    def needs(self, scope: Scope) -> Any:
        """Return the dependency that lets a request with this scope through, and tells whose it is."""
        if not self._keys:
            return Depends(_local)

        async def check(
            bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
            header: Annotated[str | None, Security(_header)],
        ) -> str:
            return self._check(bearer.credentials if bearer else header, scope)

        return Depends(check)

    def _check(self, given: str | None, scope: Scope) -> str:
        if not given:
            raise _unauthorized("no key; send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        key = self._keys.get(hash_of(given))
        if key is None:
            raise _unauthorized("no such key; ask for one, it may have been withdrawn")
        wait_s = self._buckets[key.name].take()
        if wait_s:
            raise HTTPException(
                429, f"more than {key.per_minute} requests a minute; come again in {wait_s} s", {"Retry-After": str(wait_s)}
            )  # fmt: skip
        if not any(scope in _INCLUDES[own] for own in key.scopes):
            raise HTTPException(403, f"key '{key.name}' has not the scope '{scope}'")
        return key.name


async def _local(_: Request) -> str:
    return "local"


def _unauthorized(sentence: str) -> HTTPException:
    return HTTPException(401, sentence, {"WWW-Authenticate": "Bearer"})
