"""What OpenAPI promises, every route of the running centre keeps: schemathesis asks, rightly and wrongly, as a machine and
as a person who is signed in.

A few examples of each in the suite, a hundred under ``make soak``."""

import asyncio
import os
import re

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from jsonschema_rs import Draft202012Validator
from persons import BEARER, signed_in
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from test_lifecycle import transition
from test_telling_process import town  # noqa: F401 - a fixture
from waiting import wait_until

from command_center.people.rights import OF_PEOPLE_ONLY
from telemetry.clock import SystemClock
from telemetry.severity import Severity
from telemetry.transitions import Change

EXAMPLES = 100 if os.environ.get("SOAK") else 3
NEVER_ENDS = "/api/stream"
PASSED_ON = "/api/data/{path}"  # ingest's own, which is away here: 502
ENDS_IT = {"/api/session/end", "/api/session", "/api/session/link"}  # would sign the prober out
GUESSED = {"/api/session", "/api/password"}  # who guesses passwords has to wait
PROMISED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
CONFIG = schemathesis.Config.from_dict(
    {
        "generation": {"deterministic": True, "with-security-parameters": False},
        "checks": {
            "negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 405, 409, 413, 422]}
        },
    }
)


def probe_all(url, mode, headers):
    openapi = schemathesis.openapi.from_url(f"{url}/openapi.json", config=CONFIG)
    probed, statuses, waited = 0, set(), set()
    for found in openapi.get_all_operations():
        operation = found.ok()
        if operation.path in {NEVER_ENDS, PASSED_ON} or ("Cookie" in headers and operation.path in ENDS_IT):
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, phases=[Phase.generate], database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def probe(case):
            answer = case.call(headers=headers, timeout=20)
            statuses.add(answer.status_code)
            if answer.status_code == 429:
                waited.add(case.operation.path)
            wrong = [negative_data_rejection] if mode is GenerationMode.NEGATIVE else []
            case.validate_response(answer, checks=[*PROMISED, *wrong], headers=headers)
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) >= {"zh", "en"}, "words that a person can read"

        try:
            probe()
        except Unsatisfiable:  # nothing about it can be wrong
            assert mode is GenerationMode.NEGATIVE
        else:
            probed += 1
    return probed, statuses, waited


@pytest.mark.soak
@pytest.mark.timeout(0 if os.environ.get("SOAK") else 180)
@pytest.mark.parametrize(
    ("mode", "who"),
    [(GenerationMode.POSITIVE, "key"), (GenerationMode.NEGATIVE, "key"), (GenerationMode.POSITIVE, "person")],
    ids=lambda one: getattr(one, "value", one),
)
async def test_every_route_answers_what_it_is_asked_with_an_answer_or_words(town, mode, who):  # noqa: F811
    roles = ("dispatcher", "engineer", "security_admin")
    async with signed_in(town.folder, "prober", "Prober", *roles) as browser:
        headers = BEARER if who == "key" else dict(browser.headers)
        probed, statuses, waited = await asyncio.to_thread(probe_all, town.url, mode, headers)
        assert probed > 15
        assert waited <= GUESSED, "each was answered for what it asks"
        assert {200} <= statuses if mode is GenerationMode.POSITIVE else statuses
        if who == "person":
            assert (await town.ask("/api/session", by=browser))[1]["person"]["login"] == "prober", (
                "still signed in"
            )
    assert town.process.returncode is None
    assert "Traceback" not in (town.folder / "center.log").read_text("utf-8")


async def test_openapi_says_of_every_route_what_it_answers_needs_and_refuses(town):  # noqa: F811
    _, told = await town.ask("/openapi.json")
    assert set(told["components"]["securitySchemes"]) == {"session", "key"}
    asked = [(path, one) for path, ways in told["paths"].items() for one in ways.values()]
    assert len(asked) > 50
    for path, operation in asked:
        content = operation["responses"]["200"]["content"]
        json = content.get("application/json", {"schema": True})
        assert json.get("schema") or path == PASSED_ON, path
        problem = {"$ref": "#/components/schemas/Problem"}
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert answer["content"]["application/json"]["schema"] == problem
        schemes = {name for one in operation["security"] for name in one}
        if operation["x-right"] == "open":
            assert schemes == set()
        else:
            assert schemes == ({"session"} if operation["x-right"] in OF_PEOPLE_ONLY else {"session", "key"})
            assert {"401", "403"} <= operation["responses"].keys()
    alarm = transition(0, Change.BEGAN, Severity.RED)
    await town.feed.tell(1, alarm)

    async def known():
        status, record = await town.ask(f"/api/alarms/{alarm.alarm}")
        return record if status == 200 and record["notices"] and record["incident"] else None

    record = await wait_until(known, 20, "the alarm to be told")
    shelving = {"comment": "for an hour", "until_ms": SystemClock().now_ms() + 3_600_000}
    assert (await town.ask(f"/api/alarms/{alarm.alarm}/shelve", shelving))[0] == 200
    for path in (
        "alarms",
        "alarms/{alarm}",
        "incidents",
        "incidents/{incident}",
        "plans",
        "overview",
        "figures",
        "runs/{run}",
        "holds",
        "audit",
        "audit/verify",
    ):
        url = path.format(alarm=alarm.alarm, run=alarm.alarm, incident=record["incident"])
        _, answer = await town.ask(f"/api/{url}")
        assert list(problems(told, f"/api/{path}", answer)) == []


def problems(told, path, answer):
    """Yield where an answer differs from what OpenAPI says of it."""
    schema = told["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    validator = Draft202012Validator({**schema, "components": told["components"]})
    return (f"{error.instance_path}: {error.message}" for error in validator.iter_errors(answer))


async def test_the_page_that_shows_it_needs_nothing_from_outside(town):  # noqa: F811
    async with town.http.get(f"{town.url}/docs") as answer:
        page = await answer.text()
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(wanted) >= 3
    assert "://" not in page
    for url in wanted:
        async with town.http.get(town.url + url) as answer:
            assert (answer.status, len(await answer.read()) > 1000) == (200, True), url
    async with town.http.get(f"{town.url}/redoc") as answer:
        assert answer.status == 404
