"""The house stays in order: sizes, names in the documentation, links that lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from telemetry import plugins

ROOT = Path(__file__).parent.parent
FILES = [
    ROOT / line
    for line in subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
]
DOCS = [path for path in FILES if path.suffix == ".md" and "vendor" not in path.parts]
ALL_DOCS = "\n".join(path.read_text("utf-8") for path in DOCS)
MODULES = [
    path
    for path in FILES
    if path.suffix in (".py", ".js", ".css") and "vendor" not in path.parts and path.exists()
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_longer_than_400_lines(path):
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_local_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text("utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize(
    "package",
    [
        "edge_agent.drivers",
        "edge_agent.modems",
        "edge_agent.uplinks",
        "telemetry.codecs",
        "cloud_ingest.stores",
        "cloud_ingest.sources",
        "rules.detectors",
    ],
)
def test_every_plug_in_is_named_in_the_documentation(package):
    for name in plugins.names(package):
        assert f"`{name}`" in ALL_DOCS, name


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", ALL_DOCS)) <= targets


def test_every_yemai_command_of_the_documentation_exists():
    known = {*plugins.names("yemai.commands"), "version"}
    assert set(re.findall(r"(?:bin/)?yemai ([a-z]+) ", ALL_DOCS)) <= known


def test_every_scenario_of_the_readme_exists():
    scenarios = {path.stem for path in (ROOT / "simulators" / "scenarios").glob("*.yaml")}
    assert set(re.findall(r"yemai demo scenario (\w+)", ALL_DOCS)) <= scenarios | {"NAME"}


def test_every_device_class_and_profile_is_where_its_name_says():
    for path in (ROOT / "device_profiles" / "catalogue").glob("*/*.yaml"):
        assert (ROOT / "device_profiles" / "classes" / f"{path.parent.name}.yaml").exists()


def test_every_key_of_the_configurations_is_documented():
    from cloud_ingest.config import IngestConfig
    from command_center.config import CenterConfig
    from edge_agent.config import AgentFile

    for kind, doc in ((AgentFile, "edge.md"), (IngestConfig, "ingest.md"), (CenterConfig, "alarm-desk.md")):
        text = (ROOT / "docs" / doc).read_text("utf-8")
        for name in kind.__struct_encode_fields__:
            assert re.search(rf"\b{name}\b", text), (doc, name)
