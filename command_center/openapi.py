"""OpenAPI of the centre: of every route what it answers, which right it needs, and which errors it may answer.

::

    @api.get("/api/alarms", dependencies=[needs("read")])
    @answers(list[AlarmNow])

The schemas are made by msgspec of the structs themselves.  A route that does not say what it answers keeps the
centre from starting.
"""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import fastapi_offline
import msgspec
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles
from msgspec import UNSET, UnsetType

from command_center.people.rights import OF_PEOPLE_ONLY, Need, needed

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI
    from fastapi.routing import APIRoute
    from starlette.requests import Request
    from starlette.responses import Response

F = TypeVar("F", bound="Callable[..., Any]")
_REFS = "#/components/schemas/{name}"
_MARK = "__answers__"
_COME_AGAIN = {
    "Retry-After": {"description": "Seconds until then", "schema": {"type": "integer", "minimum": 1}}
}


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error in both languages; ``reason`` is a word for the page."""

    zh: str
    en: str
    reason: str | UnsetType = UNSET


class Problem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An error."""

    error: Said


class Answers(msgspec.Struct, frozen=True):
    """What a route answers when all is well: one of ``kinds`` as JSON, or ``media`` as it is."""

    kinds: tuple[Any, ...]
    media: str
    also: tuple[int, ...]


def answers(*kinds: Any, media: str = "application/json", also: tuple[int, ...] = ()) -> Callable[[F], F]:
    """Say what a route answers, and which statuses it may answer beyond those of its kind."""

    def mark(route: F) -> F:
        route.__dict__[_MARK] = Answers(kinds, media, also)
        return route

    return mark


def describe(api: FastAPI, cookie: str) -> None:
    """Let ``/openapi.json`` say all of it; raise LookupError for a route that does not say what it answers."""
    shown = [(route, need) for route, need in needed(api) if route.include_in_schema]
    silent = [route.path for route, _ in shown if not hasattr(route.endpoint, _MARK)]
    if silent:
        raise LookupError(f"add @answers(…) to {', '.join(silent)}")

    def openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            api.openapi_schema = _openapi(api, shown, cookie)
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


def _openapi(api: FastAPI, shown: list[tuple[APIRoute, Need | None]], cookie: str) -> dict[str, Any]:
    told = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
    kinds = [Problem, *(kind for route, _ in shown for kind in getattr(route.endpoint, _MARK).kinds)]
    schemas, parts = msgspec.json.schema_components(kinds, ref_template=_REFS)
    rest = iter(schemas[1:])
    for route, need in shown:
        right = need.right if need else None
        says: Answers = getattr(route.endpoint, _MARK)
        mine = [next(rest) for _ in says.kinds]
        content = {says.media: {"schema": mine[0] if len(mine) == 1 else {"anyOf": mine}} if mine else {}}
        for method in route.methods or ():
            operation = told["paths"][route.path_format][method.lower()]
            fine = {
                str(status): {"description": HTTPStatus(status).phrase, "content": content}
                for status in _fine(says)
            }
            problem = {"application/json": {"schema": schemas[0]}}
            operation["responses"] = fine | {
                str(status): {"description": HTTPStatus(status).phrase}
                | ({"content": problem} if status >= 400 else {})
                | ({"headers": _COME_AGAIN} if status == 429 else {})
                for status in _others(operation, method, need, says)
            }
            operation["x-right"] = right
            operation["security"] = [] if right == "open" else [{"session": []}]
            if right not in OF_PEOPLE_ONLY | {"open"}:
                operation["security"].append({"key": []})
    components = told.setdefault("components", {})
    components["schemas"] = {
        name: part
        for name, part in components.get("schemas", {}).items()
        if name not in {"HTTPValidationError", "ValidationError"}
    } | parts
    components["securitySchemes"] = {
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": cookie,
            "description": "A person or wall, signed in",
        },
        "key": {"type": "http", "scheme": "bearer", "description": "A machine's key, of `yemai center key`"},
    }
    return told


def _fine(says: Answers) -> list[int]:
    return [200, *(status for status in says.also if 200 <= status < 300)]


def _others(operation: dict[str, Any], method: str, need: Need | None, says: Answers) -> list[int]:
    found = {503, *(status for status in says.also if status >= 300)}
    if need is None or need.counted:
        found.add(429)
    if need is None or need.right != "open":
        found |= {401, 403}
    if operation.get("parameters") or "requestBody" in operation:
        found.add(422)
    if any(one["in"] == "path" for one in operation.get("parameters", ())):
        found |= {404, 405}  # what stands there may have no address, or another's
    if method == "POST":
        found |= {400, 403, 408, 409, 413}
    return sorted(found)


def add_docs(api: FastAPI) -> None:
    """Show OpenAPI as a page at ``/docs``; a city's network reaches no CDN, so its files come from here."""
    files = "/docs-files"
    api.mount(files, StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static"))

    async def docs(_: Request) -> Response:
        return get_swagger_ui_html(
            openapi_url="/openapi.json", title=api.title, swagger_js_url=f"{files}/swagger-ui-bundle.js",
            swagger_css_url=f"{files}/swagger-ui.css", swagger_favicon_url=f"{files}/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},
        )  # fmt: skip

    api.add_route("/docs", docs, include_in_schema=False)
