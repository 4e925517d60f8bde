"""Access tokens that run out: fetched once for all who wait, and anew when the vendor says they are stale."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from telemetry.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from command_center.channel import Answer, Receipt


class Tokens:
    """One token of one set of credentials."""

    def __init__(self, fetch: Callable[[], Awaitable[Answer]]) -> None:
        self._fetch, self._token, self._fetching = fetch, "", asyncio.Lock()

    async def spend(self, use: Callable[[str], Awaitable[Receipt]], stale: Collection[str]) -> Receipt:
        """Use a token; when the receipt's code says that it is stale, use a new one, once."""
        token = await self._get("")
        receipt = await use(token)
        return await use(await self._get(token)) if receipt.code in stale else receipt

    async def _get(self, spent: str) -> str:
        async with self._fetching:
            if not self._token or self._token == spent:
                answer = await self._fetch()
                body = answer.body or {}
                if body.get("errcode") != 0 or not isinstance(body.get("access_token"), str):
                    raise Refused(
                        f"no access token: {body.get('errcode', answer.status)} {body.get('errmsg', '')}"[
                            :200
                        ]
                    )
                self._token = body["access_token"]
            return self._token
