"""``yemai ingest``: what the data officer and the operator type, beside a running ingest and a real broker."""

import re
import sys
import tomllib

import aiomqtt
import pytest
from ports import free_port
from waiting import wait_until
from world import DEVICES, start, stop, write_config

from telemetry import topics
from telemetry.codecs import json
from telemetry.readings import Reading, Upload
from yemai.cli import main

T0 = 1_764_000_000_000


@pytest.fixture
def config(tmp_path, mosquitto):
    return write_config(tmp_path, mosquitto.port, free_port())


@pytest.fixture
def yemai(capsys, monkeypatch):
    """Run a command as a person would; return its exit code and all that it said."""

    def run(*words, language="en"):
        monkeypatch.setenv("YEMAI_LANG", language)
        monkeypatch.setattr(sys, "argv", ["yemai", "ingest", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.out + said.err

    return run


async def test_a_new_device_is_seen_registered_and_what_it_said_before_is_stored(
    tmp_path, config, mosquitto, http, yemai
):
    process = await start(config)
    url = f"http://127.0.0.1:{tomllib.loads(config.read_text())['api']['port']}"

    async def ask(path):
        async with http.get(url + path) as answer:
            return await answer.json()

    async def quarantined():
        try:
            return await ask("/api/data/quarantine")
        except OSError:
            return None

    upload = json.encode(Upload("edge-01", "b", 1, T0, (Reading("noise-09", T0, {"sound_level": 55.0}),)))
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:

        async def sent_and_quarantined():
            await client.publish(topics.up("test", "edge-01"), upload, 1)
            return await quarantined()

        await wait_until(sent_and_quarantined, 30, "the reading to be quarantined")

    async def listed():
        return "noise-09" in (yemai("registry", "unannounced", "--config", config))[1]

    await wait_until(listed, 30, "the device to be listed")
    (tmp_path / "new.csv").write_text(
        DEVICES.splitlines()[0] + "\nnoise-09,噪声九,Noise 9,sonbest_sm7901b,edge-01,s01,115.92,31.85,市政\n",
        "utf-8",
    )
    code, said = yemai("registry", "import", tmp_path / "new.csv", "--config", config, "--yes")
    assert (code, "1 new" in said, "Imported" in said) == (0, True, True), said
    code, said = yemai("requeue", "--config", config, "--reason", "unknown device", "--wait", "20")
    assert (code, said) == (0, "1 entries will be admitted again\n")

    async def stored():
        told = await ask(f"/api/data/history?device=noise-09&metric=sound_level&from_ms={T0}&to_ms={T0}")
        return told.get("points")

    assert await wait_until(stored, 20, "the reading to be stored") == [[T0, 55.0, 0]]
    assert await ask("/api/data/quarantine") == []
    code, said = yemai("registry", "retire", "noise-09", "--config", config)
    assert (code, said) == (0, "noise-09 is out of service\n")

    async def gone():
        return "noise-09" not in {device["id"] for device in await ask("/api/data/devices")}

    await wait_until(gone, 10, "the running ingest to follow")
    assert await stop(process) == 0


async def test_mistakes_are_lines_that_an_editor_can_follow_in_the_readers_language(tmp_path, config, yemai):
    (tmp_path / "bad.csv").write_text(
        DEVICES.replace("sonbest_sm7901b", "sonbest").replace("smoke-01", "smoke/01"), "utf-8"
    )
    code, said = yemai("registry", "import", tmp_path / "bad.csv", "--config", config, "--dry-run")
    assert code == 1
    assert (
        f"{tmp_path / 'bad.csv'}:2: profile 'sonbest' is no profile; did you mean 'sonbest_sm7901b'?" in said
    )
    assert f"{tmp_path / 'bad.csv'}:3: device 'smoke/01' cannot be an id" in said
    assert "nothing was imported" in said
    code, said = yemai("registry", "import", tmp_path / "bad.csv", "--config", config, language="zh")
    assert f"{tmp_path / 'bad.csv'}:2: profile 'sonbest' 不是已有的设备型号；是否指 sonbest_sm7901b？" in said
    assert "什么也没有导入" in said


async def test_an_import_asks_first_and_an_export_goes_back_in(tmp_path, config, yemai):
    sites, devices = tmp_path / "sites.csv", tmp_path / "devices.csv"
    code, said = yemai("registry", "import", sites, devices, "--config", config)
    assert (code, "Not imported; --yes imports it" in said) == (1, True), said
    code, said = yemai("registry", "import", sites, devices, "--config", config, "--yes")
    assert code == 0, said
    code, said = yemai("registry", "export", tmp_path / "all.xlsx", "--config", config)
    assert (code, said) == (0, "")
    code, said = yemai("registry", "import", tmp_path / "all.xlsx", "--config", config)
    assert (code, said) == (0, "5 unchanged\n")
    code, said = yemai("registry", "changes", "--config", config)
    assert re.search(r"import of \S+sites\.csv, \S+devices\.csv: 5 new", said)


async def test_check_asks_every_part_and_names_the_one_that_fails(tmp_path, config, mosquitto, yemai):
    code, said = yemai("check", "--config", config)
    assert code == 0, said
    assert [line.split()[1] for line in said.splitlines()[-5:]] == ["ok"] * 5
    await mosquitto.stop()
    (tmp_path / "devices.csv").write_text("nonsense", "utf-8")
    code, said = yemai("check", "--config", config)
    told = dict(line.split(None, 1) for line in said.splitlines())
    assert code == 1
    assert told["broker"].startswith(f"no broker at 127.0.0.1:{mosquitto.port}")
    assert "devices.csv: line 1: no column 'device'" in told["registry"]


async def test_a_key_opens_the_address_to_others(config, yemai):
    text = config.read_text().replace("api = { ", 'api = { host = "0.0.0.0", ')
    config.write_text(text)
    code, said = yemai("check", "--config", config)
    assert (code, "'0.0.0.0' is open to others, and there are no keys; add [[api.keys]]" in said) == (2, True)
    code, said = yemai("key", "--name", "city", "--scope", "read", "--scope", "registry")
    secret = re.search(r"yemai_[a-z2-7]{52}", said)[0]
    table = tomllib.loads(said.partition("The key")[0])["api"]["keys"][0]
    assert (table["name"], table["scopes"], secret in str(table)) == ("city", ["read", "registry"], False)
    code, said = yemai("key", "--name", "city", "--scope", "write")
    assert (code, "read" in said) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("requeue",), "say which: --reason, --agent, --device or --id, or --all"),
        (("registry", "import", "none.csv"), "none.csv: cannot be read: No such file or directory"),
        (("registry", "retire", "noise-1"), "no device 'noise-1'"),
    ],
)
async def test_a_wrong_command_is_one_plain_sentence(config, words, said, yemai):
    code, told = yemai(*words, "--config", config)
    assert code == 2
    assert said in " ".join(told.split())
    assert "Traceback" not in told
