"""Access tokens that run out: fetched once for all who wait, and anew when the vendor says they are stale."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from command_center.channel import Answer, Receipt

_BUSY = {-1, 45009, 45033}
"""The system is busy, too many calls, too many at once: WeCom and DingTalk, global error codes."""


class Tokens:
    """One token of one set of credentials."""

    def __init__(self, fetch: Callable[[], Awaitable[Answer]]) -> None:
        self._fetch, self._token, self._fetching = fetch, "", asyncio.Lock()

    async def spend(self, use: Callable[[str], Awaitable[Receipt]], stale: Collection[str]) -> Receipt:
        """Use a token; when the receipt's code says that it is stale, use a new one, once.

        Raises :class:`Unavailable` when the vendor gives none now, :class:`Refused` when it never will for these credentials.
        """
        token = await self._get("")
        receipt = await use(token)
        return await use(await self._get(token)) if receipt.code in stale else receipt

    async def _get(self, spent: str) -> str:
        async with self._fetching:
            if not self._token or self._token == spent:
                answer = await self._fetch()
                body = answer.body or {}
                code = body.get("errcode")
                if code != 0 or not isinstance(body.get("access_token"), str):
                    told = f"{answer.status if code is None else code} {body.get('errmsg', '')}"
                    # What is in the place of a code comes from something on the way.
                    passes = not isinstance(code, int) or code in _BUSY
                    raise (Unavailable if passes else Refused)(f"no access token: {told}"[:200])
                self._token = body["access_token"]
            return self._token
