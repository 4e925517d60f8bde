"""A bundle that Grafana loads by itself: every path, folder and data source it names is there."""

import json

import grafana
import pytest
import yaml
from typer.testing import CliRunner

from dashboards.export import Sources, export
from dashboards.look import Look
from telemetry.errors import Refused
from yemai.commands.boards import app


def load(folder, seen_at):
    """Walk the bundle as Grafana's provisioning does; return data sources by uid, boards by uid with their folder."""
    sources = yaml.safe_load((folder / "datasources" / "yemai.yaml").read_text("utf-8"))
    providers = yaml.safe_load((folder / "dashboards" / "yemai.yaml").read_text("utf-8"))
    assert sources["apiVersion"] == providers["apiVersion"] == 1
    boards = {}
    for provider in providers["providers"]:
        assert provider["type"] == "file"
        path = folder / provider["options"]["path"].removeprefix(seen_at).lstrip("/")
        for file in path.rglob("*.json"):
            board = json.loads(file.read_text("utf-8"))
            assert board["uid"] not in boards, "Grafana would refuse both"
            boards[board["uid"]] = provider["folderUid"], board
    return {source["uid"]: source for source in sources["datasources"]}, boards


def test_one_bundle_loads_whole(tmp_path):
    export(
        tmp_path,
        Sources(token_file="/run/secrets/influx"),
        look=Look(center="https://c.example"),
        seen_at="/etc/y",
    )
    sources, boards = load(tmp_path, "/etc/y")
    assert {folder for folder, _ in boards.values()} == {"yemai-zh", "yemai-en"}
    titles = [(folder, board["title"]) for folder, board in boards.values()]
    assert len(titles) == len(set(titles)), "two boards of one title in a folder"
    for _, board in boards.values():
        for panel in grafana.panels(board):
            assert {target["datasource"]["uid"] for target in panel["targets"]} <= set(sources)
            assert all(
                sources[t["datasource"]["uid"]]["type"] == t["datasource"]["type"] for t in panel["targets"]
            )
    assert sources["yemai-influxdb"]["secureJsonData"] == {
        "httpHeaderValue1": "Token $__file{/run/secrets/influx}"
    }


@pytest.mark.parametrize(
    ("version", "keys"),
    [(1, {"user", "secureJsonData"}), (2, {"secureJsonData"}), (3, {"secureJsonData"})],
)
def test_the_data_source_is_what_each_version_wants(tmp_path, version, keys):
    export(
        tmp_path,
        Sources(influx_version=version, username="reader" if version == 1 else "", token_file="/s"),
        look=Look(),
    )
    source = load(tmp_path, str(tmp_path))[0]["yemai-influxdb"]
    assert keys <= set(source)
    assert source["jsonData"]["dbName"] == "yemai"
    assert ("httpHeaderName1" in source["jsonData"]) == (version > 1)


def test_exporting_again_takes_away_what_is_made_no_more_and_nothing_else(tmp_path):
    export(tmp_path, Sources(), look=Look())
    old, foreign = (
        tmp_path / "boards" / "zh" / name for name in ("yemai-zh-class-abolished.json", "mine.json")
    )
    for path in (old, foreign):
        path.write_text("{}")
    export(tmp_path, Sources(), look=Look())
    assert not old.exists()
    assert foreign.exists()


def test_what_somebody_else_wrote_is_not_written_over(tmp_path):
    mine = tmp_path / "datasources" / "yemai.yaml"
    mine.parent.mkdir()
    mine.write_text("apiVersion: 1\n")
    with pytest.raises(Refused, match="was not written by this command; move it away"):
        export(tmp_path, Sources(), look=Look())
    assert mine.read_text() == "apiVersion: 1\n"
    assert not (tmp_path / "boards").exists()


def test_the_command_writes_one_language_on_demand(tmp_path, monkeypatch):
    monkeypatch.setenv("YEMAI_LANG", "zh")
    told = CliRunner().invoke(app, ["export", str(tmp_path), "--lang", "zh", "--influx-version", "1"])
    assert told.exit_code == 0, told.output
    assert "个文件" in told.output
    assert {folder for folder, _ in load(tmp_path, str(tmp_path))[1].values()} == {"yemai-zh"}
