"""Every error of the API in one shape: a sentence that names value and way out, and where in the request it is."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, get_origin

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from cloud_ingest.api.answers import answer
from cloud_ingest.api.models import Mistake
from telemetry.errors import ConfigError, Refused, Unavailable, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI

    from cloud_ingest.registry.mistakes import Mistake as Found

_RETRY_S = "5"


class Where(BaseModel):
    """One place of a request, and what is wrong with it."""

    where: str = Field(examples=["query.step_ms"])
    problem: str


class Problem(BaseModel):
    """An error."""

    error: str = Field(description="A sentence for a person.")
    status: int
    fields: list[Where] = []
    mistakes: list[Mistake] = Field(default=[], description="Of what was to be registered; nothing was.")


def told(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the errors that a route may answer, for OpenAPI."""
    return {status: {"model": Problem, "description": HTTPStatus(status).phrase} for status in statuses}


COMMON = told(400, 401, 403, 404, 405, 409, 422, 429, 503)


def problem(
    status: int, sentence: str, fields: list[Where] | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error as a response."""
    shape = Problem(error=sentence, status=status, fields=fields or [])
    return JSONResponse(shape.model_dump(exclude={"mistakes"}), status, dict(headers or {}))


def refused(mistakes: Sequence[Found]) -> Response:
    """Return what must be mended before anything is registered."""
    lines = [f"line {one.line}" + (f", column {one.column}" if one.column else "") for one in mistakes]
    fields = [
        {"where": line, "problem": f"'{one.value}' {one.problem.en}"}
        for line, one in zip(lines, mistakes, strict=True)
    ]
    sentence = f"{len(mistakes)} mistakes, nothing was imported; {lines[0]}: {fields[0]['problem']}; {mistakes[0].hint.en}"
    return answer({"error": sentence, "status": 422, "fields": fields, "mistakes": mistakes}, 422)


def handle_errors(api: FastAPI) -> None:
    """Teach an application the shape."""

    @api.exception_handler(HTTPException)
    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @api.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        fields = [
            Where(where=".".join(str(step) for step in entry["loc"]), problem=entry["msg"])
            for entry in error.errors()
        ]
        return problem(422, "; ".join(f"{field.where}: {field.problem}" for field in fields[:5]), fields)

    @api.exception_handler(Refused)
    async def conflict(_: Request, error: Exception) -> JSONResponse:
        return problem(409, str(error))

    @api.exception_handler(ConfigError)
    async def unusable(_: Request, error: Exception) -> JSONResponse:
        return problem(400, str(error))

    @api.exception_handler(Unavailable)
    async def unavailable(_: Request, error: Exception) -> JSONResponse:
        return problem(503, str(error), headers={"Retry-After": _RETRY_S})


async def no_unknown_query(request: Request) -> None:
    """Refuse a parameter that the route has not, or takes once: a filter with a slip of the pen would match everything."""
    fields = {field.alias: field for field in _query_fields(request.scope["route"].dependant)}
    for name in request.query_params:
        if name not in fields:
            raise _wrong(name, f"unknown parameter; {did_you_mean(name, fields)}")
        if (
            get_origin(fields[name].field_info.annotation) is not list
            and len(request.query_params.getlist(name)) > 1
        ):
            raise _wrong(name, "given more than once; give it once")


def _wrong(name: str, sentence: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("query", name), "msg": sentence}])


def _query_fields(dependant: Any) -> list[Any]:
    return [*dependant.query_params, *(f for part in dependant.dependencies for f in _query_fields(part))]
