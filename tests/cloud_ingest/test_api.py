"""The data API answers what the city's other systems ask, and says what is wrong with a question."""

import asyncio
import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from api_world import world

from cloud_ingest.api import live as live_module
from cloud_ingest.api import readings
from cloud_ingest.source import Delivery
from telemetry.codecs import json as json_codec
from telemetry.quality import Quality
from telemetry.readings import Gap, Reading, Upload

T0 = 1_764_000_000_000
DAY = 86_400_000


@pytest.fixture
async def city(tmp_path):
    async with world(tmp_path) as here:
        yield here


def series(city, count, *, device="noise-01", step_ms=1000, seq=1, start=T0):
    found = tuple(Reading(device, start + n * step_ms, {"sound_level": 50.0 + n % 7}) for n in range(count))
    city.bench.deliver(json_codec.encode(Upload("edge-01", "b", seq, T0, found)))
    return [[reading.time, reading.values["sound_level"], 0] for reading in found]


async def test_the_catalogue_tells_what_there_is(city):
    classes = await city.get("/api/data/classes")
    assert classes["noise_monitor"]["metrics"]["sound_level"]["unit"] == "dB(A)"
    schema = await city.get("/api/data/classes/noise_monitor/schema")
    assert schema["properties"]["values"]["properties"]["sound_level"]["x-unit"] == "dB(A)"
    told = await city.get("/api/data/classes/noise/schema", 404)
    assert told["error"] == "no class 'noise'; did you mean 'noise_monitor'?"
    devices = await city.get("/api/data/devices", agent="edge-01", street="甲路")
    assert {device["id"] for device in devices} >= {"noise-01", "smoke-01"}
    assert "chg-01" not in {device["id"] for device in devices}
    (district,) = await city.get("/api/data/tree")
    assert district["streets"][0]["street"] == "甲路"
    assert "chg-01" in district["streets"][0]["sites"][0]["devices"]


async def test_a_filter_with_a_slip_of_the_pen_is_refused_instead_of_matching_everything(city):
    told = await city.get("/api/data/devices", 422, agnet="edge-01")
    assert told == {
        "error": "query.agnet: unknown parameter; did you mean 'agent'?",
        "status": 422,
        "fields": [{"where": "query.agnet", "problem": "unknown parameter; did you mean 'agent'?"}],
    }


async def test_what_is_taken_once_is_not_given_twice(city):
    told = await city.get("/api/data/devices", 422, agent=["edge-01", "edge-02"])
    assert told["error"] == "query.agent: given more than once; give it once"


async def test_history_is_the_same_in_every_format(city):
    points = series(city, 500, start=T0 - DAY)
    query = {"device": "noise-01", "metric": "sound_level", "from_ms": T0 - DAY, "to_ms": T0}
    told = await city.get("/api/data/history", **query)
    assert (told["points"], told["unit"], told["truncated"]) == (points, "dB(A)", False)

    answer = await city.client.get("/api/data/history", params={**query, "format": "csv"})
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert [[int(t), float(v), int(q)] for t, v, q in rows[1:]] == points

    answer = await city.client.get(
        "/api/data/history", params=query, headers={"Accept": "application/vnd.apache.parquet"}
    )
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.schema.metadata[b"unit"] == b"dB(A)"
    assert rows_of(table) == points

    answer = await city.client.get("/api/data/history", params={**query, "format": "arrow"})
    assert rows_of(pa.ipc.open_stream(answer.content).read_all()) == points


def rows_of(table):
    times = table["time"].cast(pa.int64()).to_pylist()
    return [
        list(row) for row in zip(times, table["value"].to_pylist(), table["quality"].to_pylist(), strict=True)
    ]


async def test_a_long_history_is_told_in_full_as_a_table_and_its_end_as_json(city, monkeypatch):
    monkeypatch.setattr(readings, "MOST_POINTS", 40)
    points = []
    for day in range(6):
        points += series(city, 20, seq=day + 1, start=T0 - (5 - day) * DAY)
    query = {"device": "noise-01", "metric": "sound_level", "from_ms": 0, "to_ms": T0 + DAY}
    told = await city.get("/api/data/history", **query)
    assert told["truncated"]
    assert told["points"] == points[-40:]
    answer = await city.client.get("/api/data/history", params={**query, "format": "csv"})
    assert [int(line.split(",")[0]) for line in answer.text.splitlines()[1:]] == [
        point[0] for point in points
    ]


async def test_steps_are_whole_and_told_once(city):
    series(city, 300, start=T0 - 150_000)
    query = {"device": "noise-01", "metric": "sound_level", "from_ms": T0 - DAY, "to_ms": T0 + DAY}
    step = 7 * 3_600_000 + 1
    told = await city.get("/api/data/history", step_ms=step, aggregate="max", **query)
    times = [point[0] for point in told["points"]]
    assert times == sorted(set(times))
    assert all(time % step == 0 for time in times)
    assert {point[1] for point in told["points"]} == {56.0}
    told = await city.get("/api/data/history", 400, step_ms=1, **query)
    assert told["error"].startswith("172800000 points; take a longer step_ms")


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ({"device": "noise-1"}, 404, "no device 'noise-1'; did you mean 'noise-01'?"),
        ({"metric": "sound"}, 404, "'noise-01' has no metric 'sound'; did you mean 'sound_level'?"),
        ({"from_ms": 2, "to_ms": 1}, 400, "from_ms 2 is after to_ms 1; exchange them"),
        ({"from_ms": -1}, 422, "query.from_ms: Input should be greater than or equal to 0"),
        ({"from_ms": 10**30}, 422, "query.from_ms: "),
        ({"aggregate": "median"}, 422, "query.aggregate: Input should be 'mean', 'min', 'max' or 'last'"),
        ({"format": "xlsx"}, 422, "query.format: Input should be 'json', 'csv', 'parquet' or 'arrow'"),
    ],
)
async def test_a_wrong_question_is_told(city, query, status, error):
    told = await city.get(
        "/api/data/history", status, **{"device": "noise-01", "metric": "sound_level", **query}
    )
    assert told["status"] == status
    assert told["error"].startswith(error)


async def test_a_path_that_leads_nowhere_has_the_same_shape(city):
    assert await city.get("/api/data/nothing", 404) == {"error": "Not Found", "status": 404, "fields": []}
    assert (await city.post("/api/data/devices", 405))["status"] == 405


class Ear:
    """A listener at the stream, as bytes come."""

    def __init__(self, city, **query):
        self._city, self._query, self.events, self.chunks = city, query, [], asyncio.Queue()

    async def __aenter__(self):
        self._task = asyncio.ensure_future(self._run())
        assert await self._next() == b": here\n\n"
        return self

    async def __aexit__(self, *_):
        self._city.live.close()
        await asyncio.wait_for(self._task, 5)

    async def _run(self):
        request = self._city.client.build_request("GET", "/api/data/stream", params=self._query)

        async def send(message):
            if message["type"] == "http.response.body" and message.get("body"):
                await self.chunks.put(message["body"])

        async def receive():
            await asyncio.Event().wait()

        scope = {
            "type": "http", "method": "GET", "path": "/api/data/stream", "raw_path": b"", "root_path": "", "scheme": "http",
            "query_string": request.url.query, "headers": [], "http_version": "1.1", "server": ("t", 1), "client": ("t", 1),
        }  # fmt: skip
        await self._city.api(scope, receive, send)

    async def _next(self):
        return await asyncio.wait_for(self.chunks.get(), 5)

    async def hear(self):
        """Return the events of the next chunk: (kind, data)."""
        found = []
        for text in (await self._next()).decode().strip().split("\n\n"):
            kind, data = text.split("\n")
            found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
        return found


async def test_the_stream_tells_new_readings_as_they_are_committed(city):
    async with Ear(city, site="s01", device="smoke-01", metric=["smoke_alarm"]) as ear:
        city.bench.deliver(city.bench.upload(1, {"sound_level": 50.0}))
        city.bench.deliver(city.bench.upload(2, {"smoke_alarm": 1.0, "fault": 0.0}, device="smoke-01"))
        assert await ear.hear() == [
            ("reading", {
                "device": "smoke-01", "class": "smoke_detector", "site": "s01", "time": T0, "received": T0,
                "values": {"smoke_alarm": 1.0}, "quality": {},
            })
        ]  # fmt: skip


async def test_a_slow_listener_is_told_how_much_it_missed_and_holds_nobody_up(city, monkeypatch):
    monkeypatch.setattr(live_module, "MOST_WAITING", 5)
    listener = live_module.Listener(live_module.Wanted(), lambda: city.keeper.registry, city.parts.classes)
    city.bench.pipeline.latest.told = listener.put
    for seq in range(1, 13):
        city.bench.deliver(city.bench.upload(seq, {"sound_level": float(seq)}, time=T0 + seq))
    events = listener.events()
    heard = [await anext(events) for _ in range(7)]
    assert heard[1] == b'event: lost\ndata: {"readings":7}\n\n'
    assert [json.loads(text.split(b"data: ")[1])["values"]["sound_level"] for text in heard[2:]] == [
        8,
        9,
        10,
        11,
        12,
    ]


async def test_only_so_many_may_listen(city, monkeypatch):
    monkeypatch.setattr(live_module, "MOST_LISTENERS", 1)
    async with Ear(city):
        told = await city.get("/api/data/stream", 503)
        assert told["error"] == "1 listen already; close one"
    told = await city.get("/api/data/stream", 404, **{"class": "lamp"})
    assert told["error"].startswith("no class 'lamp'")


async def test_deep_health_names_the_part_and_its_threshold(city):
    told = await city.get("/api/health/deep")
    assert told["status"] == "ok"
    assert set(told["parts"]) == {"broker", "queue", "ledger", "store", "store_lag", "registry"}
    city.source.trouble = "Connection refused"
    told = await city.get("/api/health/deep", 503)
    assert (told["status"], told["parts"]["broker"]["told"]) == ("down", "Connection refused")
    city.source.trouble = ""
    city.bench.pipeline.process(
        [Delivery("edge-01", "up", city.bench.upload(1, {"sound_level": 50.0}), T0, None)]
    )
    await city.bench.clock.advance(61)
    told = await city.get("/api/health/deep")
    assert (told["status"], told["parts"]["store_lag"]["value"]) == ("degraded", 61.0)
    assert told["parts"]["store_lag"]["degraded_from"] == 60.0


async def test_a_gap_tells_why_there_was_nothing_to_believe(city):
    def speak(seq, gaps=(), *told):
        readings = tuple(
            Reading("noise-01", T0 - 1_000_000 + second * 1000, {"sound_level": value}, {"sound_level": code} if code else {})
            for second, value, code in told
        )  # fmt: skip
        city.bench.deliver(json_codec.encode(Upload("edge-01", "b", seq, T0, readings, gaps)))

    bad = [(second, None, Quality.NO_ANSWER) for second in range(10, 70, 10)]
    speak(1, (), (0, 50.0, 0), *bad, (20, 999.0, 0), (70, 50.0, 0), (170, 50.0, 0), (400, 50.0, 0))
    at = T0 - 1_000_000
    speak(
        2,
        (Gap("outbox_full", 7, at + 200_000, at + 300_000), Gap("disk_full", 1, at + 190_000, at + 200_000)),
    )
    span = {"device": "noise-01", "from_ms": at, "to_ms": T0}
    first, second, third = await city.get("/api/data/gaps", **span, longer_than_s=60)
    assert first == {"from_ms": at, "to_ms": at + 70_000, "seconds": 70.0, "cause": "no_answer", "losses": []}
    assert (second["from_ms"] - at, second["cause"]) == (70_000, "silent")
    assert (third["to_ms"] - at, third["cause"]) == (400_000, "outbox_full")
    assert [(loss["cause"], loss["samples"]) for loss in third["losses"]] == [
        ("disk_full", 1),
        ("outbox_full", 7),
    ]
