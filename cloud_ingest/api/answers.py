"""Answers: msgspec writes them, OpenAPI describes them by their model."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi.responses import Response

_encoder = msgspec.json.Encoder()


def answer(data: object, status: int = 200) -> Response:
    """Return data as JSON."""
    return Response(_encoder.encode(data), status, media_type="application/json")


def of(model: Any, description: str = "") -> dict[int | str, dict[str, Any]]:
    """Return what a route answers when all is well, for OpenAPI."""
    return {200: {"model": model, "description": description or "Done"}}
