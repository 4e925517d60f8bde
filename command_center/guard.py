"""Before every route: other sites' pages change nothing, bodies end somewhere, and headers keep ours to itself.

Plain ASGI: a middleware that passes answers on through a queue would hold back, and hide, a reader that is slow.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from command_center.answers import as_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1 << 20
_BODY_S = 10.0
_CSP = (
    "default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; style-src 'self' 'unsafe-inline';"
    " object-src 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Wraps the application; ``secure`` when browsers reach it over https."""

    def __init__(self, app: ASGIApp, *, secure: bool = False) -> None:
        self._app, self._secure = app, secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin, reads = headers.get("origin"), scope["method"] in {"GET", "HEAD"}
        send = _with_headers(scope["path"], send, secure=self._secure)
        site = headers.get("sec-fetch-site", "none")
        foreign = origin is not None and origin.split("://")[-1] != headers.get("host")
        if not reads and (foreign or site not in {"same-origin", "none"}):
            answer = as_error(403, "拒绝来自其他网站的请求", f"requests from {origin or site!r} are refused")
            await answer(scope, receive, send)
            return
        if not reads:
            try:
                body = await asyncio.wait_for(_body(headers, receive), _BODY_S)
            except TimeoutError:
                late = as_error(408, "请求正文迟迟没有传完", f"the body was not there within {_BODY_S:.0f} s")
                await late(scope, receive, send)
                return
            if body is None:
                most = f"{MOST_BYTES >> 20} MiB"
                long = as_error(413, f"请求正文超过 {most}", f"the body is longer than {most}")
                await long(scope, receive, send)
                return
            receive = _again(body, receive)
        await self._app(scope, receive, send)


async def _body(headers: Headers, receive: Receive) -> bytes | None:
    """Return the whole body; None for one that is too long."""
    told = headers.get("content-length", "0")
    if not told.isdigit() or int(told) > MOST_BYTES:
        return None
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a receiver that gives a body that was read already."""
    left = [body]

    async def give() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return give


def _with_headers(path: str, send: Send, *, secure: bool) -> Send:
    async def sends(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(_HEADERS)
            if secure:
                headers["Strict-Transport-Security"] = "max-age=31536000; includeSubDomains"
            if not path.startswith("/docs"):
                headers["Content-Security-Policy"] = _CSP
            headers.setdefault(
                "Cache-Control", "max-age=86400" if path.startswith("/vendor/") else "no-store"
            )
        await send(message)

    return sends
