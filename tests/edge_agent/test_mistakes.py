"""What a technician reads in the rain when edge.toml is wrong."""

import os
import re
import subprocess
import sys

import pytest

from edge_agent.config import load_config
from telemetry.config_chinese import in_chinese
from telemetry.errors import ConfigError

GOOD = """
agent = "edge-01"
area = "yeji"
broker = { host = "127.0.0.1" }
outbox = { path = "outbox.db" }
[[buses]]
id = "b1"
driver = "modbus_rtu"
link = { port = "/dev/ttyS9", baud = 9600 }
[[buses.devices]]
id = "noise-01"
profile = "sonbest_sm7901b"
unit = 1
"""
OTHER_BUS = """
[[buses]]
id = "b2"
driver = "modbus_rtu"
link = { port = "/dev/ttyS9", baud = 9600 }
[[buses.devices]]
id = "noise-02"
profile = "sonbest_sm7901b"
unit = 2
"""
SECOND = '[[buses.devices]]\nid = "{}"\nprofile = "{}"\nunit = {}\n'


ONE_MISTAKE = [
        ('agent = "edge-01"', 'agent = "edge/01"', "$.agent: agent 'edge/01' cannot be part of a topic; use letters, digits, '-', '_' and '.', at most 64"),
        ("modbus_rtu", "modbus_rtuu", "$.buses[0].driver: no 'modbus_rtuu'; did you mean 'modbus_rtu'?"),
        ("baud", "baudrate", "$.buses[0].link.baudrate: unknown key; did you mean 'baud'?"),
        ("9600", '"9600"', "$.buses[0].link.baud: Expected `int`, got `str`, here '9600'; a number is written without quotes"),
        ("sonbest_sm7901b", "sonbest_sm790", "$.buses[0].devices[0].profile: no 'sonbest_sm790'; did you mean 'sonbest_sm7901b'?"),
        ("sonbest_sm7901b", "plantower_pms5003", "$.buses[0].devices[0].profile: 'plantower_pms5003' is for serial_frame, driver 'modbus_rtu' serves modbus"),
        ("unit = 1", "unit = 999", "$.buses[0].devices[0].unit: 999 is no unit id; 1 to 247; 0, 250 and 255 only where the device says so"),
        ("unit = 1", "unit = 1\nparameters = { channel = 2 }", "$.buses[0].devices[0].parameters: 'sonbest_sm7901b' has no parameter 'channel'; it has none"),
        ("unit = 1\n", "unit = 1\n" + SECOND.format("noise-01", "sonbest_sm7901b", 2), "$.buses[0].devices[1].id: device noise-01 is given twice; the other is $.buses[0].devices[0].id"),
        ("unit = 1\n", "unit = 1\n" + SECOND.format("noise-02", "sonbest_sm7901b", 1), "$.buses[0].devices[1]: unit 1 is taken by 'noise-01'; each device has an address of its own"),
        ('id = "b1"', 'id = "b1"\nperiod_s = 0', "$.buses[0].period_s: 0 s is not within 0.05 and 86400"),
        ("broker = ", "brocker = ", "$.brocker: unknown key; did you mean 'broker'?"),
        ('agent = "edge-01"', "", '$.agent: missing; add agent = "…" above the first [table]'),
        ("9600", "0", "$.buses[0].link.baud: no line has 0 baud; usual are 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200"),
        ('driver = "modbus_rtu"\nlink = { port = "/dev/ttyS9", baud = 9600 }', 'driver = "modbus_tcp"\nlink = { host = "10.0.0.9", port = 70000 }', "$.buses[0].link.port: 70000 is no port; 1 to 65535"),
        ('id = "noise-01"', 'id = "noise 01"', "$.buses[0].devices[0].id: 'noise 01' is no id; 1 to 64 characters, no blanks and none of / + #"),
        ('id = "b1"', 'id = "b1"\ntimeout_s = 0', "$.buses[0].timeout_s: 0 s is not within 0.02 and 60; leave it out for the profiles' own"),
        ('"outbox.db"', '"outbox.db", max_bytes = 99', "$.outbox.max_bytes: 99 bytes hold not even one upload; at least 4096; leave it out for 256 MiB"),
        ('host = "127.0.0.1"', 'host = "127.0.0.1", port = 0', "$.broker.port: 0 is no port; 1 to 65535; 1883, or 8883 with ca"),
        ('host = "127.0.0.1"', 'host = "127.0.0.1", password = "geheim"', "$.broker.password: a secret is not written here; name it as 'env:NAME' or 'file:PATH'"),
        ('host = "127.0.0.1"', 'host = "127.0.0.1", password = "env:NOWHERE_TO_BE_FOUND"', "$.broker.password: secret: no environment variable NOWHERE_TO_BE_FOUND; export NOWHERE_TO_BE_FOUND=…"),
        ("unit = 1\n", "unit = 1\n" + OTHER_BUS, "$.buses[1].link.port: /dev/ttyS9 is used by $.buses[0].link already; one bus for all devices on a line, with their unit ids"),
    ]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "message"), ONE_MISTAKE)
def test_a_mistake_names_file_field_value_and_way_out(tmp_path, before, after, message):
    path = tmp_path / "edge.toml"
    path.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: {message}"


NO_TOML = [
        ('area = "yeji"', 'area = "yeji', "line 3, column 13: not TOML: Illegal character '\\n'; look at: area = \"yeji   (a text ends with the quote that it begins with)"),
        ('"yeji"', "“yeji”", "line 3, column 8: not TOML: Invalid value; look at: area = “yeji”   ('“' is not the ASCII character: switch the input method and write it anew)"),
        ('id = "b1"', 'id = "b1"\nperiod_s = 2,5', "line 8, column 13: not TOML: Expected newline or end of document after a statement; look at: period_s = 2,5   (a decimal point, not a comma)"),
        ('area = "yeji"', 'password = "geheim', "line 3, column 19: not TOML: Illegal character '\\n'; look at: password = …"),
    ]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "message"), NO_TOML)
def test_a_file_that_is_no_toml_is_answered_with_its_line_and_a_guess(tmp_path, before, after, message):
    path = tmp_path / "edge.toml"
    path.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_file_of_another_encoding_is_answered_with_its_line_and_notepads_mark_is_read_over(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_bytes(GOOD.replace("noise-01", "噪声").encode("gbk"))
    with pytest.raises(ConfigError, match="line 11: not UTF-8; save the file as UTF-8"):
        load_config(path)
    path.write_text(GOOD, "utf-8-sig")
    assert load_config(path).agent == "edge-01"


BAD = """
agent = "edge/01"
broker = { host = "127.0.0.1", port = 0 }
outbox = { path = "outbox.db", max_bytes = 9 }
area = "yeji"
[[buses]]
id = "b1"
driver = "modbus_rtu"
link = { port = "/dev/ttyS9" }
[[buses.devices]]
id = "noise-01"
profile = "sonbest_sm790"
[[buses.devices]]
id = "noise-01"
profile = "sonbest_sm7901b"
unit = 1
[[buses.devices]]
id = "noise-03"
profile = "sonbest_sm7901b"
unit = 1
[[buses]]
id = "b1"
driver = "modbus_tcp"
link = { prot = 502 }
[[buses.devices]]
id = "meter"
profile = "eastron_sdm630"
"""


def checked(path, language="en"):
    """What a technician sees of a file."""
    done = subprocess.run(
        [sys.executable, "-c", "from yemai.cli import main; main()", "edge", "check", str(path)],
        capture_output=True, text=True, check=False, timeout=30, env={**os.environ, "YEMAI_LANG": language},
    )  # fmt: skip
    assert done.returncode == 2
    return done.stderr.removeprefix("yemai: ").replace(f"{path}: ", "").splitlines()


def test_all_that_is_missing_is_told_at_once_with_its_line_and_what_to_add(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text('[[buses]]\ndriver = "modbus_rtu"\n[[buses.devices]]\nid = "a"\nprofil = "x"\n')
    assert checked(path) == [
        '$.agent: missing; add agent = "…" above the first [table]',
        '$.area: missing; add area = "…" above the first [table]',
        "$.outbox: missing; add outbox = { path = … } above the first [table]",
        'line 1: $.buses[0].id: missing; add id = "…"',
        "line 1: $.buses[0].link: missing; add link = { … }",
        "line 5: $.buses[0].devices[0].profil: unknown key; did you mean 'profile'?",
    ]


def test_all_that_is_wrong_by_itself_is_told_at_once_with_its_line(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(BAD)
    assert [line.partition("; ")[0] for line in checked(path)] == [
        "line 2: $.agent: agent 'edge/01' cannot be part of a topic",
        "line 12: $.buses[0].devices[0].profile: no 'sonbest_sm790'",
        "line 14: $.buses[0].devices[1].id: device noise-01 is given twice",
        "line 17: $.buses[0].devices[2]: unit 1 is taken by 'noise-01'",
        "line 22: $.buses[1].id: bus b1 is given twice",
        "line 24: $.buses[1].link.host: missing",
        "line 24: $.buses[1].link.prot: unknown key",
        "line 4: $.outbox.max_bytes: 9 bytes hold not even one upload",
        "line 3: $.broker.port: 0 is no port",
    ]


def test_all_values_of_a_wrong_type_are_told_at_once_with_their_lines(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(
        GOOD.replace("9600", '"9600"').replace("unit = 1", 'unit = "1"\nperiods_s = { sound_level = "5 s" }')
        .replace('agent = "edge-01"', "agent = 1").replace('host = "127.0.0.1"', 'host = "a", port = "1883"')
        .replace('"outbox.db"', '"outbox.db", max_bites = 9').replace('id = "b1"', 'id = "b1"\nperiod_s = true')
        + '[[report]]\npolicy = "windw"\nmetrics = "sound_level"\n[linkage]\nrule = "x"\n'
    )  # fmt: skip
    assert checked(path) == [
        "line 2: $.agent: Expected `str`, got `int`, here 1",
        "line 5: $.outbox.max_bites: unknown key; did you mean 'max_bytes'?",
        "line 4: $.broker.port: Expected `int`, got `str`, here '1883'; a number is written without quotes",
        "line 8: $.buses[0].period_s: Expected `float | null`, got `bool`, here True",
        "line 14: $.buses[0].devices[0].unit: Expected `int | null`, got `str`, here '1'; a number is written without quotes",
        "line 15: $.buses[0].devices[0].periods_s.sound_level: Expected `float`, got `str`, here '5 s'; a number is written without quotes and without a unit",
        "line 17: $.report[0].policy: no 'windw'; did you mean 'window'?",
        "line 18: $.report[0].metrics: Expected `array`, got `str`, here 'sound_level'",
        "line 19: $.linkage: Expected `array`, got `object`; two pairs of brackets where there may be several: [[linkage]]",
    ]


def test_a_reader_of_chinese_is_told_in_chinese(tmp_path):
    path = tmp_path / "edge.toml"
    path.write_text(BAD.replace("unit = 1", "unit = true", 1))
    assert checked(path, "zh") == [
        "第 16 行: $.buses[0].devices[1].unit: 应为整数，却是true 或 false：True",
    ]
    path.write_text(BAD)
    assert checked(path, "zh")[:4] == [
        "第 2 行: $.agent: agent 不能是 'edge/01'：只用字母、数字、'-'、'_' 和 '.'，最多 64 个",
        "第 12 行: $.buses[0].devices[0].profile: 没有 'sonbest_sm790'; 是不是“sonbest_sm7901b”？",
        "第 14 行: $.buses[0].devices[1].id: 设备 noise-01 重复了; 另一处在 $.buses[0].devices[0].id",
        "第 17 行: $.buses[0].devices[2]: 站号 1 已被“noise-01”占用; 每台设备要有自己的地址",
    ]


@pytest.mark.parametrize("cases", [ONE_MISTAKE, NO_TOML])
def test_each_mistake_that_is_known_here_has_its_chinese(tmp_path, cases):
    path = tmp_path / "edge.toml"
    for before, after, _ in cases:
        path.write_text(GOOD.replace(before, after, 1))
        with pytest.raises(ConfigError) as caught:
            load_config(path)
        for sentence in (caught.value.problem, caught.value.hint):
            left = re.sub(r"'[^']*'|“[^”]*”|「.」|look at: .*", "", in_chinese(sentence))
            assert not sentence or re.search("[\u4e00-\u9fff]", in_chinese(sentence)), sentence
            assert not re.search(r"\b(is|are|the|no|not|of|in|did|you|has)\b", left), sentence


def test_a_bus_that_cannot_be_is_refused_with_its_numbers_and_with_what_would_fit(tmp_path):
    path = tmp_path / "edge.toml"
    meters = "".join(SECOND.format(f"m-{n}", "eastron_sdm630", n) for n in range(2, 12))
    path.write_text(GOOD.replace('id = "b1"', 'id = "b1"\nperiod_s = 1', 1) + meters)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    told = str(caught.value)
    assert "$.buses[0]: 11 devices at 9600 baud need " in told
    assert (
        "at most 92 % can be planned; it fits with period_s = 1.5, or baud = 19200, or at most 8 of these 11 devices"
        in told
    )


def test_a_period_that_would_fit_names_the_devices_whose_own_is_shorter(tmp_path):
    path = tmp_path / "edge.toml"
    meters = "".join(SECOND.format(f"m-{n}", "eastron_sdm630", n) + "period_s = 0.2\n" for n in range(2, 8))
    path.write_text(GOOD + meters)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    found = re.search(
        r"it fits with period_s = (\d+) \(of the bus, and of 'm-2', 'm-3', 'm-4' and 3 more\)",
        str(caught.value),
    )
    path.write_text(
        GOOD.replace('id = "b1"', f'id = "b1"\nperiod_s = {found[1]}') + meters.replace("0.2", found[1])
    )
    assert len(load_config(path).buses[0].devices) == 7, "it does fit"


def test_the_right_file_is_accepted(tmp_path):
    (tmp_path / "edge.toml").write_text(GOOD)
    assert load_config(tmp_path / "edge.toml").buses[0].devices[0].timeout_s == 0.5


def test_the_process_says_it_in_one_sentence_and_exits_2(tmp_path):
    (tmp_path / "edge.toml").write_text(GOOD.replace("9600", "true"))
    done = subprocess.run(
        [sys.executable, "-m", "edge_agent", "--config", str(tmp_path / "edge.toml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_the_edge_needs_none_of_the_clouds_packages():
    code = "import sys, edge_agent.app, edge_agent.drivers.modbus_tcp; print([m for m in ('numpy', 'scipy', 'duckdb', 'fastapi', 'uvicorn', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.strip() == "[]"
