"""The files of ``deploy/`` are ones that their readers take: compose, images, services, configurations."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import missing

from cloud_ingest.config import load_config as load_ingest
from command_center.config import load_config as load_center
from yemai.commands.boards import app as boards
from yemai.doctor.plan import load_plan

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
UNITS = sorted(set((DEPLOY / "systemd").glob("*.*")) - set((DEPLOY / "systemd").glob("yemai-edge*")))


def sources(service):
    return [volume.split(":")[0] for volume in service.get("volumes", ())]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_bounded_and_watched(name):
    service = SERVICES[name]
    assert re.search(r":v?\d+\.\d+(\.\d+)?", service["image"]), "a version that stays what it is"
    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"]["max-size"]
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:") or port == "8883:8883", "only the broker listens to the network"
    if name not in ("influxdb", "postgres"):  # their images begin as root to own their data, then step down
        assert service["read_only"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["cap_drop"] == ["ALL"]


def test_everything_that_compose_names_is_there():
    used = set()
    for service in SERVICES.values():
        used |= set(service.get("secrets", ()))
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        for source in sources(service):
            if source.startswith("./secrets/") or source == "./grafana":
                continue  # the district's own
            assert (
                (DEPLOY / source).exists() or source in COMPOSE["volumes"] or source == "./config/registry"
            ), source
    assert used == set(COMPOSE["secrets"])
    assert {s for service in SERVICES.values() for s in sources(service) if not s.startswith(".")} == set(
        COMPOSE["volumes"]
    )


def test_no_secret_is_written_anywhere():
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text("utf-8")
            assert not re.search(r"BEGIN [A-Z ]*PRIVATE KEY", text), path
            for name, value in re.findall(
                r"(?im)^\s*\w*(password|token|secret)\w*\s*[:=][ \t]*\"?([^\s\"]+)", text
            ):
                assert value.startswith(("file:", "/run/secrets/", "{file:", "[")), (path, name)
    tracked = subprocess.run(
        ["git", "ls-files", "deploy/secrets", "deploy/grafana"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(line.endswith(".gitignore") for line in tracked.stdout.split())


@pytest.mark.parametrize("number", [1, 2])
def test_the_shipped_configurations_are_taken_by_their_programs(tmp_path, number):
    token = tmp_path / "token"
    token.write_text("x")
    for part, load in (("ingest", load_ingest), ("center", load_center)):
        path = tmp_path / f"{part}.toml"
        text = (DEPLOY / "config" / f"{part}-{number}.toml").read_text("utf-8")
        path.write_text(re.sub(r"file:/run/secrets/\w+", f"file:{token}", text), "utf-8")
        config = load(path)
        service = SERVICES[f"{part}-{number}"]
        assert f"./secrets/{part}-{number}" in sources(service)
        assert config.broker.host in SERVICES
        assert config.broker.certificate.name == f"{part}-{number}.crt"
        acl = (DEPLOY / "mosquitto" / "acl").read_text()
        assert f"user {part}-{number}\n" in acl
        assert f"yemai/v1/{config.area}/" in acl


def test_ingest_and_centre_of_an_area_know_each_other():
    text = {p.name: p.read_text("utf-8") for p in (DEPLOY / "config").glob("*.toml")}
    for number in (1, 2):
        assert f'consumer = "center-{number}"' in text[f"ingest-{number}.toml"]
        assert f'consumer = "center-{number}"' in text[f"center-{number}.toml"]
        assert f"http://ingest-{number}:8600" in text[f"center-{number}.toml"]
    assert load_plan(DEPLOY / "config" / "doctor.toml").crl


def test_the_image_is_small_and_runs_as_nobody_special():
    text = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    stages = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(stages) == 2
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", stage) for stage in stages)
    last = text[text.rindex("FROM ") :]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert "pip install" not in last
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in source.split()), source


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_reads_every_unit_without_complaint(tmp_path, unit):
    if not shutil.which("systemd-analyze"):
        missing("systemd-analyze", "apt install systemd")
    for other in UNITS:
        text = other.read_text("utf-8").replace("/opt/yemai/bin/yemai", "/bin/true")
        (tmp_path / other.name).write_text(text, "utf-8")
    name = unit.name.replace("@.", "@yeji.")
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    ours = [line for line in told.stderr.splitlines() if "yemai" in line]
    assert ours == []


@pytest.mark.parametrize(
    "unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=lambda unit: unit.name
)
def test_services_are_shut_in(unit):
    text = unit.read_text("utf-8")
    for line in (
        "User=yemai",
        "NoNewPrivileges=true",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "UMask=0077",
    ):
        assert f"{line}\n" in text or unit.name.startswith("yemai-edge"), line


def test_the_boards_of_the_district_fit_the_mounted_folder(tmp_path):
    from typer.testing import CliRunner

    words = ["export", str(tmp_path), "--at", "/etc/yemai/grafana", "--influx-url", "http://influxdb:8086",
             "--token-file", "/run/secrets/influx_read_token", "--prometheus-url", "http://prometheus:9090"]  # fmt: skip
    assert CliRunner().invoke(boards, words).exit_code == 0
    providers = yaml.safe_load((tmp_path / "dashboards" / "yemai.yaml").read_text("utf-8"))["providers"]
    assert all(provider["options"]["path"].startswith("/etc/yemai/grafana/boards/") for provider in providers)
    assert SERVICES["grafana"]["environment"]["GF_PATHS_PROVISIONING"] == "/etc/yemai/grafana"
