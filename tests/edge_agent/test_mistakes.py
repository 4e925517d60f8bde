"""What a technician reads in the rain when edge.toml is wrong."""

import subprocess
import sys

import pytest

from edge_agent.config import load_config
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
SECOND = '[[buses.devices]]\nid = "{}"\nprofile = "{}"\nunit = {}\n'


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('agent = "edge-01"', 'agent = "edge/01"', "$.agent: agent 'edge/01' cannot be part of a topic; use letters, digits, '-', '_' and '.', at most 64"),
        ("modbus_rtu", "modbus_rtuu", "$.buses[0].driver: edge_agent.drivers: no 'modbus_rtuu'; did you mean 'modbus_rtu'?"),
        ("baud", "baudrate", "$.buses[0].link.baudrate: unknown key; did you mean 'baud'?"),
        ("9600", '"9600"', "$.buses[0].link.baud: Expected `int`, got `str`, here '9600'"),
        ("sonbest_sm7901b", "sonbest_sm790", "$.buses[0].devices[0].profile: no 'sonbest_sm790'; did you mean 'sonbest_sm7901b'?"),
        ("sonbest_sm7901b", "plantower_pms5003", "$.buses[0].devices[0].profile: 'plantower_pms5003' is for serial_frame, driver 'modbus_rtu' serves modbus"),
        ("unit = 1", "unit = 999", "$.buses[0].devices[0].unit: 999 is no unit id; 1 to 247; 0, 250 and 255 only where the device says so"),
        ("unit = 1", "unit = 1\nparameters = { channel = 2 }", "$.buses[0].devices[0].parameters: 'sonbest_sm7901b' has no parameter 'channel'; it has none"),
        ("unit = 1\n", "unit = 1\n" + SECOND.format("noise-01", "sonbest_sm7901b", 2), "$.buses[0].devices[1].id: device noise-01 is given twice; the other is $.buses[0].devices[0].id"),
        ("unit = 1\n", "unit = 1\n" + SECOND.format("noise-02", "sonbest_sm7901b", 1), "$.buses[0].devices[1]: (1, ()) is taken by 'noise-01'; each device has an address of its own"),
        ('id = "b1"', 'id = "b1"\nperiod_s = 0', "$.buses[0].period_s: 0 s is not within 0.05 and 86400"),
        ("broker = ", "brocker = ", "$.brocker: unknown key; did you mean 'broker'?"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_field_value_and_way_out(tmp_path, before, after, message):
    path = tmp_path / "edge.toml"
    path.write_text(GOOD.replace(before, after, 1))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: {message}"


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
