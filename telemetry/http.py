"""Serving an ASGI application inside a process that has other things to do as well.

uvicorn is imported when something is served, so that the shared language itself stays small.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_GRACE_S = 1


@asynccontextmanager
async def served(app: Any, host: str, port: int) -> AsyncIterator[None]:
    """Serve ``app`` on ``host:port`` while the block lasts; raise :class:`Unavailable` when that is taken.

    The process keeps its own signal handlers.
    """
    import uvicorn  # noqa: PLC0415 - see the module's head

    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}") from None
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_GRACE_S
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([listening])
    serving = asyncio.ensure_future(server.main_loop())
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        await server.shutdown([listening])
        listening.close()
