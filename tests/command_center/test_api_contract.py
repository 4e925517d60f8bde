"""Schemathesis asks every route of the running centre, rightly and wrongly: no answer is a server's error or a surprise.

A few examples of each in the suite, a hundred under ``make soak``."""

import asyncio
import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from persons import BEARER
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection
from test_telling_process import town  # noqa: F401 - a fixture

EXAMPLES = 100 if os.environ.get("SOAK") else 3
NEVER_ENDS = "/api/stream"
PASSED_ON = "/api/data/{path}"  # ingest's own, which is away here: 502
CONFIG = schemathesis.Config.from_dict(
    {
        "generation": {"deterministic": True},
        "checks": {
            "negative_data_rejection": {"expected-statuses": [400, 401, 403, 404, 405, 409, 413, 422]}
        },
    }
)


def probe_all(url, mode):
    openapi = schemathesis.openapi.from_url(f"{url}/openapi.json", config=CONFIG)
    probed, statuses = 0, set()
    for found in openapi.get_all_operations():
        operation = found.ok()
        if operation.path in {NEVER_ENDS, PASSED_ON}:
            continue

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, phases=[Phase.generate], database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def probe(case):
            answer = case.call(headers=BEARER, timeout=20)
            statuses.add(answer.status_code)
            checks = [not_a_server_error]
            if mode is GenerationMode.NEGATIVE:
                checks.append(negative_data_rejection)
            case.validate_response(answer, checks=checks, headers=BEARER)
            if answer.status_code >= 400:
                assert set(answer.json()["error"]) >= {"zh", "en"}, "words that a person can read"

        try:
            probe()
        except Unsatisfiable:  # nothing about it can be wrong
            assert mode is GenerationMode.NEGATIVE
        else:
            probed += 1
    return probed, statuses


@pytest.mark.soak
@pytest.mark.timeout(0 if os.environ.get("SOAK") else 180)
@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
async def test_every_route_answers_what_it_is_asked_with_an_answer_or_words(town, mode):  # noqa: F811
    probed, statuses = await asyncio.to_thread(probe_all, town.url, mode)
    assert probed > 15
    assert statuses
    assert town.process.returncode is None
    assert "Traceback" not in (town.folder / "center.log").read_text("utf-8")
