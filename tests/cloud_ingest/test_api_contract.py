"""What OpenAPI promises, every route keeps: schemathesis asks, with all its checks."""

import asyncio

import pytest
import schemathesis
from api_world import World
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from cloud_ingest.api.access import make_key
from cloud_ingest.config import KeyConfig

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
    world.api.openapi()  # built here, not by the first of several threads
    yield schemathesis.openapi.from_asgi("/openapi.json", world.api, config=CONFIG)
    world.close()
    loop.close()


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
