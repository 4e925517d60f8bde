"""On a box: none of the cloud's packages, an unprivileged user, a watchdog that is fed."""

import asyncio
import configparser
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from agents import NOWHERE, stop, write_config
from waiting import wait_until

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "yemai-edge.service"
CLOUDS = (
    "duckdb",
    "fastapi",
    "scipy",
    "sqlalchemy",
    "pyarrow",
    "uvicorn",
    "influxdb_client",
    "grafana_client",
)


@pytest.mark.parametrize(
    "code",
    [
        "import edge_agent.app, edge_agent.uplinks.nbiot_modem, edge_agent.drivers.modbus_tcp",
        "from yemai.cli import app; from typer.testing import CliRunner; assert CliRunner().invoke(app, ['edge', '--help']).exit_code == 0",
    ],
)
def test_the_agent_and_its_commands_load_none_of_the_clouds_packages(code):
    barred = f"import sys\nfor name in {CLOUDS}: sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", barred + code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("SOAK"), reason="installs packages: behind make soak")
def test_pip_install_yemai_edge_is_enough_to_run_an_agent(tmp_path):
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "pip", "install", "-q", "-c", ROOT / "constraints.txt", f"{ROOT}[edge]"]
    subprocess.run(pip, check=True, cwd=tmp_path)
    listed = subprocess.run(
        [venv / "bin" / "pip", "list"], capture_output=True, text=True, check=True
    ).stdout.lower()
    for name in CLOUDS:
        assert name.replace("_", "-") not in listed
    config = write_config(tmp_path, 1, NOWHERE)
    done = subprocess.run(
        [venv / "bin" / "yemai", "edge", "status", "--config", config],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no agent answers" in done.stderr, done.stderr


async def test_systemd_hears_of_the_start_and_of_life_as_long_as_there_is_any(tmp_path):
    path = tmp_path / "n"
    config = write_config(tmp_path, 1, NOWHERE)
    loop, heard = asyncio.get_running_loop(), []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.setblocking(False)
        env = {**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"}
        agent = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "edge_agent",
            "--config",
            str(config),
            env=env,
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def listen():
            while True:
                heard.append((await loop.sock_recv(systemd, 1000)).decode())

        listening = asyncio.ensure_future(listen())
        await wait_until(lambda: sum("WATCHDOG=1" in word for word in heard) >= 4, 20)
        assert await stop(agent) == 0
        await wait_until(lambda: "STOPPING=1" in heard, 5)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    assert "READY=1" in heard
    assert any("STATUS=uplink down" in word for word in heard)


def test_the_unit_runs_a_hardened_watched_agent_without_privileges():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string(UNIT.read_text("utf-8"))
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert service["User"] == "yemai"
    assert service["CapabilityBoundingSet"] == ""
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0", (
        "a trial that crashes must be started until it is rolled back"
    )
    assert int(service["TimeoutStopSec"]) > 10, "longer than an agent needs to send what is left"
