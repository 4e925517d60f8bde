"""Each mistake in the registry is told with file, line, column, value and way out."""

import pytest
from world import DEVICES, SITES, write_registry

from cloud_ingest.config import load_config
from cloud_ingest.marks import MOST_RANGES, Ranges
from cloud_ingest.registry import load_registry
from telemetry.errors import ConfigError


def test_the_right_files_are_accepted(tmp_path):
    registry = load_registry(*write_registry(tmp_path))
    assert registry.devices["chg-01"].device_class == "ev_charger"
    assert registry.devices["chg-01"].period_s == 1.0


@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        ("devices", "noise-01,噪声", "smoke-01,噪声", "devices.csv: line 3, column device: 'smoke-01' is given twice; ids are unique, and line 2 has it"),
        ("devices", "sonbest_sm7901b", "sonbest", "devices.csv: line 2, column profile: 'sonbest' is no profile; did you mean 'sonbest_sm7901b'?"),
        ("devices", "edge-01,s01", "edge-01,s02", "devices.csv: line 2, column site: 's02' is no site; did you mean 's01'?"),
        ("devices", "115.92,31.85,市政\n", "x,31.85,市政\n", "devices.csv: line 2, column lon: 'x' is no number; WGS-84 degrees, like 115.9252"),
        ("devices", "115.92,31.85,市政\n", "31.85,115.92,市政\n", "devices.csv: line 2, column lat: '115.92' is not within ±90; are lon and lat exchanged?"),
        ("devices", ",31.85,市政\n", ",31.85\n", "devices.csv: line 2: has not as many fields as line 1; put what holds a comma in double quotes"),
        ("devices", "device,", "dev,", "devices.csv: line 1: no column 'device'; the columns are device, name_zh, name_en, profile, agent, site, lon, lat, owner; 1 more, told by: yemai ingest registry import --dry-run"),
        ("sites", "s01,甲站", ",甲站", "sites.csv: line 2, column site: '' is empty; give it an id; 4 more, told by: yemai ingest registry import --dry-run"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(tmp_path, name, before, after, message):
    paths = write_registry(tmp_path)
    text = DEVICES if name == "devices" else SITES
    (tmp_path / f"{name}.csv").write_text(text.replace(before, after, 1), "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_registry(*paths)
    assert str(caught.value).replace(f"{tmp_path}/", "") == message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'store = { kind = "duckbd" }',
            "$.store.kind: cloud_ingest.stores: no 'duckbd'; did you mean 'duckdb'?",
        ),
        (
            'area = "a/b"',
            "$.area: area 'a/b' cannot be part of a topic; use letters, digits, '-', '_' and '.', at most 64",
        ),
        ('ledgr = "x"', "$.ledgr: unknown key; did you mean 'ledger'?"),
    ],
)
def test_a_mistake_in_the_configuration_is_told(tmp_path, line, message):
    lines = {
        "area": 'area = "test"', "producer": 'producer = "i"', "broker": 'broker = { host = "h" }', "ledger": 'ledger = { path = "l" }',
        "registry": 'registry = { devices = "d", sites = "s" }',
    }  # fmt: skip
    lines[line.split(" ", maxsplit=1)[0]] = line
    (tmp_path / "ingest.toml").write_text("\n".join(lines.values()))
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "ingest.toml")
    assert str(caught.value) == f"{tmp_path}/ingest.toml: {message}"


def test_marks_stay_bounded_however_many_holes_there_are():
    seen = Ranges()
    for number in range(1, 5000, 2):
        seen.add(number)
    assert len(seen.pairs) == MOST_RANGES
    assert 4999 in seen
    assert 4998 not in seen


def test_marks_grow_together_in_any_order():
    seen = Ranges()
    for number in [5, 1, 3, 2, 4, 9, 7, 8]:
        seen.add(number)
    assert seen.pairs == [(1, 5), (7, 9)]
    assert seen.around([2, 6, 8]) == ((1, 5), (7, 9))
