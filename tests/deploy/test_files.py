"""The files of ``deploy/`` are ones that their readers take: compose, images, services, configurations."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compose_spec import PyOptions
from conftest import missing

from cloud_ingest.config import load_config as load_ingest
from command_center.config import load_config as load_center
from yemai.commands.boards import app as boards
from yemai.doctor.plan import load_plan

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
UNITS = sorted((DEPLOY / "systemd").glob("*.*"))


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


def _composed(text):
    options = PyOptions(apply_merge=True)
    found = options.from_yaml(text)
    found.validate()
    return found


def test_the_compose_file_is_one_by_the_specification():
    assert set(_composed((DEPLOY / "compose.yaml").read_text("utf-8")).service_names()) == set(SERVICES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("healthcheck:", "healthchek:"),
        ("restart: unless-stopped", "restart: sometimes"),
        ("interval: 15s", "interval: soon"),
        ("read_only: true", "read_only: perhaps"),
        ("secrets: [influx_password, influx_token]", "secrets: [influx_password, nobody_made_this]"),
    ],
)
def test_that_check_sees_mistakes(old, new):
    text = (DEPLOY / "compose.yaml").read_text("utf-8")
    assert old in text
    with pytest.raises(ValueError, match=r"."):
        _composed(text.replace(old, new, 1))


def _hadolint(text):
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), "--no-color", "--failure-threshold", "style", "-"],
        input=text, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, {line.split()[1] for line in done.stdout.splitlines()}


def test_the_image_passes_the_linter_which_sees_what_is_planted():
    text = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    assert _hadolint(text) == (0, set())
    planted = text.replace("USER 10001:10001\n", "ADD x.tar /x\nRUN cd /tmp && sudo ls\nUSER root\n")
    planted = re.sub(r"FROM python:\S+", "FROM python:latest", planted)
    code, found = _hadolint(planted)
    assert code == 1
    assert found >= {"DL3002", "DL3004", "DL3007"}


READ_ONLY = 'mount -o remount,bind,ro / && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"'
"""What a container without rights on a read-only root is, as near as the machine itself comes to it."""


def _as_in_a_container(*words):
    shut = ["unshare", "-m", "sh", "-ec", READ_ONLY, "sh"] if os.getuid() == 0 else []
    env = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "YEMAI_LANG": "en"}
    return subprocess.run([*shut, *words], capture_output=True, text=True, check=False, cwd="/", env=env)


@pytest.mark.soak
@pytest.mark.skipif(not os.environ.get("SOAK"), reason="installs packages: behind make soak")
def test_the_steps_of_the_image_install_what_runs_as_nobody_on_a_read_only_disk(tmp_path):
    text = (DEPLOY / "docker" / "Dockerfile").read_text("utf-8")
    source, root = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    build = text[: text.rindex("FROM ")]
    for names in re.findall(r"^COPY (.+) \S+$", build, re.MULTILINE):
        for name in names.split():
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
    (steps,) = re.findall(r"^RUN ((?:.*\\\n)*.*)$", build, re.MULTILINE)
    python = "/usr/bin/python3" if os.getuid() == 0 else sys.executable  # root's own may be shut to others
    steps = (
        steps.replace("\\\n", " ").replace("/opt/yemai", str(root)).replace("python -m", f"{python} -m", 1)
    )
    (extra,) = re.findall(r"^ARG EXTRA=(\S+)$", build, re.MULTILINE)
    subprocess.run(["/bin/sh", "-euc", steps], cwd=source, env={**os.environ, "EXTRA": extra}, check=True)
    shutil.rmtree(source)  # an image holds the second stage alone
    for path in (tmp_path, *tmp_path.parents[:3]):  # which pytest shuts to all but us
        path.chmod(0o755)
    for words, code in (
        ("--help", 0), ("ingest --help", 0), ("center check --config /nowhere", 2), ("doctor --config /nowhere", 2),
    ):  # fmt: skip
        done = _as_in_a_container(f"{root}/bin/yemai", *words.split())
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    for module in (
        "cloud_ingest.app",
        "command_center.app",
        "yemai.doctor.checks.databases",
        "yemai.pki.authority",
    ):
        done = _as_in_a_container(f"{root}/bin/python", "-c", f"import {module}")
        assert done.returncode == 0, done.stderr
    told = _as_in_a_container(f"{root}/bin/python", "-c", "open('/tmp/x', 'w')").stderr
    assert os.getuid() != 0 or "Read-only file system" in told


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
        text = re.sub(r"/opt/yemai/bin/\w+", "/bin/true", other.read_text("utf-8"))
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
        assert f"{line}\n" in text, line


def test_the_boards_of_the_district_fit_the_mounted_folder(tmp_path):
    from typer.testing import CliRunner

    words = ["export", str(tmp_path), "--at", "/etc/yemai/grafana", "--influx-url", "http://influxdb:8086",
             "--token-file", "/run/secrets/influx_read_token", "--prometheus-url", "http://prometheus:9090"]  # fmt: skip
    assert CliRunner().invoke(boards, words).exit_code == 0
    providers = yaml.safe_load((tmp_path / "dashboards" / "yemai.yaml").read_text("utf-8"))["providers"]
    assert all(provider["options"]["path"].startswith("/etc/yemai/grafana/boards/") for provider in providers)
    assert SERVICES["grafana"]["environment"]["GF_PATHS_PROVISIONING"] == "/etc/yemai/grafana"
