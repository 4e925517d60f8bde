"""On a box: none of the cloud's packages, an unprivileged user, a watchdog that is fed."""

import asyncio
import configparser
import json
import os
import socket
import subprocess
import sys

import pytest
from agents import NOWHERE, stop, write_config
from boxes import ROOT, UNIT, box, install, why_not
from waiting import wait_until

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


SOAK = pytest.mark.skipif(not os.environ.get("SOAK"), reason="installs packages: behind make soak")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A virtual environment with ``yemai[edge]`` and nothing else."""
    return install(tmp_path_factory.mktemp("installed") / "venv")


@pytest.mark.soak
@SOAK
def test_pip_install_yemai_edge_is_enough_to_run_an_agent(tmp_path, installed):
    listed = subprocess.run(
        [installed / "bin" / "pip", "list"], capture_output=True, text=True, check=True
    ).stdout.lower()
    for name in CLOUDS:
        assert name.replace("_", "-") not in listed
    config = write_config(tmp_path, 1, NOWHERE)
    yemai = [installed / "bin" / "yemai", "edge"]
    done = subprocess.run([*yemai, "check", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    asked = [*yemai, "status", "--once", "--json", "--config", config]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert "no agent answers" in done.stderr, done.stderr
    with subprocess.Popen([*yemai, "run", "--config", config], stderr=subprocess.PIPE, text=True) as agent:
        assert any("agent_up" in line for line in agent.stderr)
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        agent.terminate()
        agent.stderr.read()
    assert json.loads(done.stdout)["buses"], done.stderr
    assert agent.returncode == 0


@pytest.mark.soak
@SOAK
@pytest.mark.skipif(bool(why_not()), reason=why_not())
async def test_a_real_systemd_runs_the_unit_shut_in_and_starts_it_again_when_it_hangs(tmp_path, installed):
    config = write_config(tmp_path, 1, NOWHERE).read_text("utf-8")
    config = config.replace('"edge-01.db"', '"/var/lib/yemai/outbox.db"')
    config += '[status]\nsocket = "/run/yemai/edge.sock"\n'
    async with box(tmp_path, installed, config, "WatchdogSec=4") as its:
        await wait_until(lambda: its.told("ActiveState") == "active", 60, "READY=1 to be heard")
        first = its.told("MainPID")
        rights = dict(line.split(":\t", 1) for line in its.run("cat", f"/proc/{first}/status").splitlines())
        assert "0" not in rights["Uid"].split()
        assert int(rights["CapEff"], 16) == int(rights["CapBnd"], 16) == 0
        assert (rights["NoNewPrivs"], rights["Seccomp"]) == ("1", "2")
        await wait_until(lambda: "bytes wait" in its.told("StatusText"), 20, "a sign of life")
        status = (
            "/opt/yemai/bin/yemai",
            "edge",
            "status",
            "--once",
            "--json",
            "--config",
            "/etc/yemai/edge.toml",
        )
        assert json.loads(its.run(*status))["buses"]
        assert its.run("stat", "-c", "%U %a", "/var/lib/yemai/outbox.db").split() == ["yemai", "600"]
        its.run("kill", "-STOP", first)  # it hangs, and feeds the watchdog no more
        await wait_until(lambda: its.told("NRestarts") == "1", 40, "the watchdog to bite")
        await wait_until(lambda: its.told("ActiveState") == "active", 40)
        assert its.told("MainPID") != first
        its.run("systemctl", "stop", "yemai-edge")
        assert (its.told("ActiveState"), its.told("ExecMainStatus")) == ("inactive", "0")
        assert "readings_lost_at_stop" not in its.run("cat", "/run/edge.log")


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
    assert service["NoNewPrivileges"] == "true"
    assert service["ProtectSystem"] == "strict"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0", (
        "a trial that crashes must be started until it is rolled back"
    )
    assert int(service["TimeoutStopSec"]) > 10, "longer than an agent needs to send what is left"
