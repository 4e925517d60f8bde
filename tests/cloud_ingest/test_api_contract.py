"""What OpenAPI promises, every route keeps: schemathesis asks, with all its checks."""

import asyncio
import re
from typing import get_args

import httpx
import pytest
import schemathesis
from api_world import World
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from world import CLASSES

from cloud_ingest.api import models
from cloud_ingest.api.access import make_key
from cloud_ingest.config import KeyConfig
from cloud_ingest.registry.approval import Sighting
from cloud_ingest.registry.importing import Change, Report
from cloud_ingest.registry.model import Device, Site
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import load_packs
from rules.state import State
from telemetry import transitions
from telemetry.codecs import json
from telemetry.commands import ActionUpload, CommandResult, CommandState
from telemetry.readings import AgentStatus, ConfigState, Gap, Reading

KEY, DIGEST = make_key()
CONFIG = schemathesis.Config.from_dict(
    {
        "generation": {"deterministic": True},
        # 400: what is right in form may still be impossible, as a span that ends before it begins
        "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 400, 404, 409, 422]}},
    }
)


@pytest.fixture(scope="module")
def openapi(tmp_path_factory):
    loop = asyncio.new_event_loop()
    keys = (KeyConfig("prober", DIGEST, ("admin",), 10_000_000),)
    world = World(tmp_path_factory.mktemp("api"), keys, loop)
    world.bench.deliver(
        world.bench.upload(1, {"sound_level": 50.0}), world.bench.upload(2, {"x": 1.0}, device="new-1")
    )
    tell_everything(world)
    world.api.openapi()  # built here, not by the first of several threads
    found = schemathesis.openapi.from_asgi("/openapi.json", world.api, config=CONFIG)
    found.api = world.api
    found.client = lambda: httpx.AsyncClient(
        transport=httpx.ASGITransport(world.api), base_url="http://ingest", headers={"X-API-Key": KEY}
    )
    yield found
    world.close()
    loop.close()


def tell_everything(world):
    """Something of each kind that an answer can hold."""
    now, seen = world.bench.clock.now_ms(), {"smoke_alarm": 1.0}
    found = Engine(load_packs(), CLASSES).evaluate(
        State.empty(), Frame.of([Reading("smoke-01", now, seen)], CLASSES["smoke_detector"]), now
    )[1]
    results = (CommandResult("c1", "smoke-01", CommandState.VERIFIED, now, value=1.0, read_back=1.0),)
    gaps = (Gap("outbox_full", 3, now - 9, now),)
    world.bench.deliver(
        json.encode(
            ActionUpload("edge-01", "b", 3, now, gaps=gaps, results=results, transitions=tuple(found))
        )
    )
    config = ConfigState("2", "3", "refused", "no such bus")
    world.source.told.append(
        AgentStatus("edge-01", True, "b", now, now, "1.0", config, {"buffer_lasts_s": 9.0})
    )


def operations(openapi):
    never_ends = "/api/data/stream"
    found = [result.ok() for result in openapi.get_all_operations()]
    return [operation for operation in found if operation.path != never_ends]


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
def test_every_route_keeps_its_promise(openapi, mode):
    probed = 0
    for operation in operations(openapi):

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate], database=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def probe(case):
            case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"})

        try:
            probe()
        except Unsatisfiable:  # nothing about it can be wrong
            assert mode is GenerationMode.NEGATIVE
        else:
            probed += 1
    assert probed > 15


def loose(schema, where):
    """Return where a schema says nothing of what stands there."""
    if not isinstance(schema, dict):
        return
    if schema.get("additionalProperties") is True or not schema.keys() - {"title", "description", "default"}:
        yield where
    for name, part in schema.get("properties", {}).items():
        yield from loose(part, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        yield from loose(schema.get(key), f"{where}[]")
    for part in (*schema.get("anyOf", ()), *schema.get("prefixItems", ())):
        yield from loose(part, where)


async def test_every_field_of_an_answer_has_a_type_and_every_answer_has_no_other(openapi):
    told = openapi.api.openapi()
    parts = told["components"]["schemas"]
    assert [place for name, part in parts.items() for place in loose(part, name)] == []
    async with openapi.client() as client:
        for path, model in (("accounting", "AgentAccount"), ("agents", "Agent"), ("actions", "Action")):
            answer = (await client.get(f"/api/data/{path}")).json()
            rows = answer["agents"].values() if path == "accounting" else answer
            assert rows
            for row in rows:
                assert row.keys() == parts[model]["properties"].keys()
        bodies = [row["body"] for row in (await client.get("/api/data/actions")).json()]
    known = [parts[name]["properties"].keys() for name in ("Result", "Transition")]
    assert len(bodies) == 2
    assert all(any(body.keys() <= names for names in known) for body in bodies)


async def test_the_page_that_shows_it_needs_nothing_from_outside(openapi):
    async with openapi.client() as client:
        page = (await client.get("/docs")).text
        wanted = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert len(wanted) >= 3
        for url in wanted:
            answer = await client.get(url)
            assert (url[0], answer.status_code) == ("/", 200)
            assert len(answer.content) > 1000
        assert "://" not in page
        assert '"validatorUrl": null' in page, "or a browser would ask a validator on the internet"


@pytest.mark.parametrize(
    ("model", "struct"),
    [
        (models.Transition, transitions.Transition), (models.Guidance, transitions.Guidance), (models.Result, CommandResult),
        (models.ConfigState, ConfigState), (models.Loss, Gap), (models.Device, Device), (models.Site, Site),
        (models.Report, Report), (models.Change, Change), (models.Sighting, Sighting),
    ],
    ids=lambda kind: kind.__name__,
)  # fmt: skip
def test_openapi_follows_what_is_answered(model, struct):
    assert {field.alias or name for name, field in model.model_fields.items()} == set(
        struct.__struct_encode_fields__
    )


@pytest.mark.parametrize(
    ("field", "kind"), [("change", transitions.Change), ("category", transitions.Category)]
)
def test_openapi_knows_every_word(field, kind):
    assert set(get_args(models.Transition.model_fields[field].annotation)) == {word.value for word in kind}
    assert set(get_args(models.Step)) == {state.value for state in CommandState}
