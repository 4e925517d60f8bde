"""From an unannounced device to its readings in the store, without a restart; and who may do what."""

import httpx
import pytest
from api_world import world
from world import DEVICES, SITES

from cloud_ingest.api.access import make_key
from cloud_ingest.config import KeyConfig

T0 = 1_764_000_000_000
NEW = {"profile": "sonbest_sm7901b", "site": "s01", "name_zh": "噪声九", "name_en": "Noise 9"}


@pytest.fixture
async def city(tmp_path):
    async with world(tmp_path) as here:
        yield here


async def test_what_an_unannounced_device_said_is_stored_once_it_is_approved(city):
    for seq in (1, 2, 3):
        city.bench.deliver(
            city.bench.upload(
                seq,
                {"sound_level": 50.0 + seq},
                device="noise-09",
                agent="edge-09",
                time=city.bench.clock.now_ms() + seq,
            ),
            agent="edge-09",
        )
    found = {item["id"]: item for item in await city.get("/api/data/registry/unannounced")}
    assert set(found) == {"noise-09", "edge-09"}
    assert (found["noise-09"]["agent"], found["noise-09"]["times"], found["noise-09"]["state"]) == (
        "edge-09",
        3,
        "pending",
    )
    report = await city.post("/api/data/registry/devices/noise-09", method="PUT", json=NEW)
    assert [(change["id"], change["change"]) for change in report["changes"]] == [("noise-09", "new")]
    device = await city.get("/api/data/devices/noise-09")
    assert (device["agent"], device["owner"], device["lon"]) == ("edge-09", "市政", 115.92)
    assert await city.get("/api/data/registry/unannounced") == []
    assert await city.post("/api/data/quarantine/requeue", json={"reason": "unknown device"}) == {
        "requeued": 3
    }
    city.bench.pipeline.process_again()
    city.bench.writer.flush()
    told = await city.get(
        "/api/data/history", device="noise-09", metric="sound_level", from_ms=0, to_ms=2 * T0
    )
    assert [point[1] for point in told["points"]] == [51.0, 52.0, 53.0]
    assert await city.get("/api/data/quarantine") == []
    accounts = (await city.get("/api/data/accounting", agent="edge-09"))["agents"]
    assert list(accounts) == ["edge-09"]
    assert (
        accounts["edge-09"]["received"],
        accounts["edge-09"]["stored"],
        accounts["edge-09"]["quarantined"],
    ) == (3, 3, {})


async def test_what_is_still_wrong_goes_back_with_its_new_reason(city):
    city.bench.deliver(city.bench.upload(1, {"loudness": 50.0}, device="noise-09"))
    await city.post("/api/data/registry/devices/noise-09", method="PUT", json=NEW)
    (before,) = await city.get("/api/data/quarantine", reason="unknown device")
    assert await city.post("/api/data/quarantine/requeue", json={"device": "noise-08"}) == {"requeued": 0}
    assert await city.post("/api/data/quarantine/requeue", json={"device": "noise-09"}) == {"requeued": 1}
    city.bench.pipeline.process_again()
    (after,) = await city.get("/api/data/quarantine")
    assert (after["reason"], after["samples"]) == ("unknown metric", 1)
    assert after["id"] > before["id"]
    assert city.bench.fates()["quarantined"] == 1


async def test_nobody_speaks_through_a_denied_agent(city):
    city.source.born("rogue", 1_764_000_000_000)
    (item,) = await city.get("/api/data/registry/unannounced")
    assert (item["kind"], item["id"]) == ("agent", "rogue")
    await city.post("/api/data/registry/agents/edge-02/deny", json={"note": "stolen"})
    assert "chg-01" not in {device["id"] for device in await city.get("/api/data/devices")}
    city.bench.deliver(
        city.bench.upload(1, {"temperature": 30.0}, device="chg-01", agent="edge-02"), agent="edge-02"
    )
    assert [entry["reason"] for entry in await city.get("/api/data/quarantine")] == ["denied agent"]
    await city.post("/api/data/registry/agents/edge-02/approve", json={})
    assert "chg-01" in {device["id"] for device in await city.get("/api/data/devices")}
    assert await city.post("/api/data/quarantine/requeue", json={"reason": "denied agent"}) == {"requeued": 1}
    city.bench.pipeline.process_again()
    city.bench.writer.flush()
    assert city.bench.fates("edge-02") == {"received": 1, "stored": 1, "quarantined": 0, "duplicated": 0}
    log = await city.get("/api/data/registry/changes", limit=2)
    assert [(entry["by"], entry["what"]) for entry in log] == [
        ("local", "agent edge-02 allowed"),
        ("local", "agent edge-02 denied"),
    ]


async def test_denied_retired_and_unannounced_are_told_and_counted_apart(city):
    def speak(seq, *devices):
        for nth, device in enumerate(devices):
            city.bench.deliver(city.bench.upload(seq + nth, {"sound_level": 50.0}, device=device))

    speak(1, "noise-08", "noise-09")
    await city.post("/api/data/registry/devices/noise-09/deny", json={"note": "a stranger's"})
    await city.post("/api/data/registry/devices/noise-01/retire")
    speak(11, "noise-01", "noise-08", "noise-09", "noise-09", "chg-01")
    wanted = {"retired device": 1, "unknown device": 3, "denied device": 2, "device of another agent": 1}
    told = (await city.get("/api/data/accounting", agent="edge-01"))["agents"]["edge-01"]
    assert told["quarantined"] == wanted
    (entry,) = await city.get("/api/data/quarantine", reason="retired device")
    assert entry["detail"] == "'noise-01' was taken out of service"
    seen = {item["id"]: item for item in await city.get("/api/data/registry/unannounced")}
    assert (seen["noise-09"]["state"], seen["noise-09"]["times"]) == ("denied", 3)
    assert (seen["noise-01"]["state"], seen["noise-08"]["state"]) == ("pending", "pending")
    await city.post("/api/data/registry/devices/noise-09", method="PUT", json={**NEW, "agent": "edge-01"})
    for reason, count in (("denied device", 2), ("unknown device", 3)):
        assert await city.post("/api/data/quarantine/requeue", json={"reason": reason}) == {"requeued": count}
    city.bench.pipeline.process_again()
    told = (await city.get("/api/data/accounting", agent="edge-01"))["agents"]["edge-01"]
    assert told["quarantined"] == {"retired device": 1, "unknown device": 2, "device of another agent": 1}


async def test_who_asks_for_more_hours_than_fit_an_answer_is_told_what_to_ask_for(city, monkeypatch):
    monkeypatch.setattr("cloud_ingest.reader.MOST_HOURS", 0)
    city.bench.deliver(city.bench.upload(1, {"sound_level": 50.0}))
    error = (await city.get("/api/data/accounting", 400, from_ms=0))["error"]
    assert "name one agent, or ask for a shorter time" in error


async def test_a_retired_device_is_out_of_service_and_can_still_be_found(city):
    await city.post("/api/data/registry/devices/chg-01/retire")
    assert (await city.get("/api/data/devices/chg-01", 404))["error"].startswith("no device 'chg-01'")
    (found,) = await city.get("/api/data/devices", retired=True)
    assert (found["id"], found["retired_on"]) == ("chg-01", "2025-11-24")
    assert (await city.post("/api/data/registry/devices/chg-01/retire", 409))[
        "error"
    ] == "'chg-01' was retired on 2025-11-24"


async def test_every_mistake_of_a_request_is_told_in_both_languages(city):
    told = await city.post(
        "/api/data/registry/devices/noise-09", 422, method="PUT",
        json={**NEW, "agent": "edge-01", "profile": "sonbest", "site": "s99", "installed_on": "soon"},
    )  # fmt: skip
    assert [mistake["column"] for mistake in told["mistakes"]] == [
        "profile",
        "site",
        "lon",
        "lat",
        "owner",
        "installed_on",
    ]
    assert told["mistakes"][0]["hint"] == {
        "zh": "是否指 sonbest_sm7901b？",
        "en": "did you mean 'sonbest_sm7901b'?",
    }
    told = await city.post("/api/data/registry/devices/noise-09", 404, method="PUT", json=NEW)
    assert told["error"] == "'noise-09' has not been seen; name its agent"


async def test_a_file_goes_in_and_out_through_the_api(city):
    text = DEVICES.replace("noise-01,噪声,Noise", "noise-01,噪声,Loud")
    report = await city.post("/api/data/registry/import", params={"dry_run": True}, content=text.encode())
    assert (report["applied"], len(report["changes"])) == (False, 1)
    report = await city.post(
        "/api/data/registry/import", params={"name": "new.csv"}, content=text.encode("gb18030")
    )
    assert (report["applied"], report["notes"][0]["en"]) == (True, "new.csv was read as GB18030")
    told = await city.post(
        "/api/data/registry/import", 422, content=text.replace("noise-01", "noise+01").encode()
    )
    assert told["fields"][0]["where"] == "line 2, column device"
    told = await city.post("/api/data/registry/import", 400, content=b"x")
    assert "names neither sites nor devices" in told["error"]
    for query in ({"kind": "devices"}, {"kind": "sites"}, {"format": "xlsx"}):
        answer = await city.client.get("/api/data/registry/export", params=query)
        report = await city.post("/api/data/registry/import", content=answer.content)
        assert (report["changes"], report["unchanged"] > 0) == ([], True)


async def test_the_files_of_the_configuration_are_followed_and_a_mistake_in_one_holds_nothing_up(city):
    path = city.bench.folder / "devices.csv"
    path.write_text(DEVICES.replace("sonbest_sm7901b", "nonsense", 1), "utf-8")
    await city.renewal.refresh()
    assert "noise-01" in city.bench.pipeline.registry.devices
    told = await city.get("/api/health/deep", 503)
    assert "'nonsense' is no profile" in told["parts"]["registry"]["told"]
    await city.post("/api/data/registry/devices/noise-09", method="PUT", json={**NEW, "agent": "edge-01"})
    assert "noise-09" in city.bench.pipeline.registry.devices, "the rest goes on"
    path.write_text("\n".join(line for line in DEVICES.splitlines() if "noise-01" not in line), "utf-8")
    await city.renewal.refresh()
    assert "noise-01" not in city.bench.pipeline.registry.devices
    assert "noise-09" in city.bench.pipeline.registry.devices, "it did not come from the file"
    assert (await city.get("/api/health/deep"))["parts"]["registry"]["status"] == "ok"


async def test_a_profile_that_this_program_has_not_makes_one_device_silent_and_says_so(city, capsys):
    (city.bench.folder / "sites.csv").write_text(SITES, "utf-8")
    city.keeper.database._profiles = {k: v for k, v in city.keeper.profiles.items() if k != "sonbest_sm7901b"}
    await city.post("/api/data/registry/agents/x/approve", json={})
    assert "noise-01" not in city.keeper.registry.devices
    assert "chg-01" in city.keeper.registry.devices
    assert "unknown_profile" in capsys.readouterr().out


READ, ADMIN, OFFICER = make_key(), make_key(), make_key()
KEYS = (
    KeyConfig("grafana", READ[1], ("read",), 60), KeyConfig("officer", OFFICER[1], ("registry",)), KeyConfig("root", ADMIN[1], ("admin",))
)  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/api/health/live", "nothing"),
        ("GET", "/api/health/ready", "nothing"),
        ("GET", "/api/health/deep", "read"),
        ("GET", "/api/data/latest", "read"),
        ("GET", "/api/data/quarantine", "read"),
        ("GET", "/metrics", "read"),
        ("POST", "/api/data/quarantine/requeue", "registry"),
        ("POST", "/api/data/registry/devices/chg-01/retire", "registry"),
        ("GET", "/api/data/registry/changes", "admin"),
    ],
)
async def test_a_key_may_what_its_scope_says(tmp_path, method, path, needed):
    order = ["nothing", "read", "registry", "admin"]
    async with world(tmp_path, KEYS) as city:

        async def status(key):
            headers = {"X-API-Key": key} if key else {}
            return (
                await city.client.request(
                    method, path, json={} if "requeue" in path else None, headers=headers
                )
            ).status_code

        for key, has in ((None, "nothing"), (READ[0], "read"), (OFFICER[0], "registry"), (ADMIN[0], "admin")):
            refused = order.index(has) < order.index(needed)
            told = await status(key)
            assert (told in (401, 403)) == refused, (has, told)
            assert told == 401 or key is not None or not refused
        if needed != "nothing":
            assert await status("yemai_wrong") == 401


async def test_every_route_but_health_needs_a_key_where_there_are_keys(tmp_path):
    async with world(tmp_path, KEYS) as city:
        open_ = set()
        for path, methods in city.api.openapi()["paths"].items():
            for method in methods:
                where = (
                    path.replace("{kind}", "agents")
                    .replace("{decision}", "deny")
                    .replace("{", "")
                    .replace("}", "")
                )
                answer = await city.client.request(method, where)
                if answer.status_code != 401:
                    open_.add(path)
        assert open_ == {"/api/health/live", "/api/health/ready"}


async def test_a_key_has_a_rate_and_is_told_when_to_come_again(tmp_path):
    async with world(tmp_path, KEYS) as city:
        city.client.headers["Authorization"] = f"Bearer {READ[0]}"
        statuses = [(await city.client.get("/api/data/sites")).status_code for _ in range(12)]
        assert statuses == [200] * 10 + [429] * 2, "a sixth of 60 a minute at once"
        answer = await city.client.get("/api/data/sites")
        assert answer.headers["Retry-After"] == "1"
        assert answer.json()["error"] == "more than 60 requests a minute; come again in 1 s"
        other = httpx.Headers({"Authorization": f"Bearer {ADMIN[0]}"})
        assert (await city.client.get("/api/data/sites", headers=other)).status_code == 200
        await city.bench.clock.advance(2)
        assert (await city.client.get("/api/data/sites")).status_code == 200
