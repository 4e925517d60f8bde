"""What ingest knows, for the page: a snapshot kept fresh, and questions passed on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import msgspec
import structlog

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from command_center.kept import Kept
    from telemetry.clock import Clock
    from telemetry.config import Secret

_POLL_S = 1.0
_REGISTRY_S = 30.0
_TIMEOUT_S = 5.0
log = structlog.get_logger()


class Data:
    """A client of ingest's data API; until it answers, devices and sites are what was ``kept`` of its last answer."""

    def __init__(
        self,
        url: str,
        on_latest: Callable[[list[dict[str, Any]]], None],
        clock: Clock,
        key: Secret | None = None,
        kept: Kept | None = None,
    ) -> None:
        self._key, self._kept = key, kept
        self._url, self._on_latest, self._clock = url.rstrip("/"), on_latest, clock
        self._http: aiohttp.ClientSession | None = None
        self._newest = 0
        self._problem = ""
        self.tried = asyncio.Event()
        """Set when ingest was asked for the first time, whether it answered or not."""
        self.ok_ms: int | None = None
        """When ingest last answered, UTC ms."""
        self.known: dict[str, Any] = {"devices": [], "sites": [], "classes": {}, "agents": []}
        self.latest: dict[str, dict[str, Any]] = {}
        self.devices: dict[str, dict[str, Any]] = {}
        """The registry's devices by id: the same dict until one of them has changed."""
        self.sites: dict[str, dict[str, Any]] = {}
        """The registry's sites by id."""

    async def __aenter__(self) -> Self:
        if self._kept is not None:
            self._know(await self._kept.load())
        headers = {} if self._key is None else {"X-API-Key": self._key.reveal()}
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), headers=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def run(self) -> None:
        """Keep the snapshot fresh, for ever."""
        registry_at = -_REGISTRY_S
        while True:
            now = self._clock.monotonic()
            try:
                if now - registry_at >= _REGISTRY_S or self._problem:
                    self._know({name: await self._ask(name) for name in self.known})
                    registry_at = now
                    if self._kept is not None:
                        await self._kept.keep(self.known)
                rows = await self._ask("latest", {"since_ms": str(self._newest)})
            except Unavailable as error:
                self._note(str(error))
            else:
                self._note("")
                self.ok_ms = self._clock.now_ms()
                self._take(rows)
            finally:
                self.tried.set()
            await self._clock.sleep(_POLL_S)

    def agent_of(self, device: str) -> str | None:
        """Return which agent serves a device; raise :class:`Unavailable` while the registry was never read."""
        if self.ok_ms is None:
            raise Unavailable("the registry is not known yet: ingest has not answered")
        return self.device(device).get("agent")

    def device(self, key: str) -> dict[str, Any]:
        """Return what the registry says of a device; nothing for one it does not know."""
        return self.devices.get(key, {})

    async def forward(self, path: str, query: Mapping[str, str]) -> tuple[int, bytes, str]:
        """Pass a question on; return status, body and content type.  Raises :class:`Unavailable`."""
        if self._http is None:
            raise Unavailable("not started")
        try:
            async with self._http.get(f"{self._url}/api/data/{path}", params=query) as answer:
                return answer.status, await answer.read(), answer.content_type
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"ingest does not answer: {error or 'time-out'}") from None

    async def _ask(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        status, body, _ = await self.forward(path, query or {})
        if status != 200:
            raise Unavailable(f"ingest answers /api/data/{path} with {status}")
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            raise Unavailable(f"ingest answers /api/data/{path} with what is no JSON: {error}") from None

    def _know(self, told: Mapping[str, Any]) -> None:
        self.known |= told
        devices = {device["id"]: device for device in self.known["devices"]}
        if devices != self.devices:
            self.devices = devices
        self.sites = {site["id"]: site for site in self.known["sites"]}

    def _take(self, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._newest = max(self._newest, *(row["received"] for row in rows))
            self.latest.update((row["device"], row) for row in rows)
            self._on_latest(rows)

    def _note(self, problem: str) -> None:
        if problem and not self._problem:
            log.warning("ingest_lost", url=self._url, problem=problem)
        elif self._problem and not problem:
            log.info("ingest_found", url=self._url)
        self._problem = problem
