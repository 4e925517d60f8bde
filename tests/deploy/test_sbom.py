"""The bill of materials: Yemai on top, what pip knows, and what the page brings along, each with its sums."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "command_center" / "web" / "vendor"
BOM = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "metadata": {"tools": {}},
    "components": [
        {"name": "yemai", "type": "library", "bom-ref": "yemai==1", "externalReferences": [{"url": "file:///home/wang"}]},
        {"name": "msgspec", "type": "library", "bom-ref": "msgspec==1"},
    ],
    "dependencies": [{"ref": "yemai==1", "dependsOn": ["msgspec==1"]}, {"ref": "msgspec==1"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def sbom():
    spec = importlib.util.spec_from_file_location("sbom_whole", ROOT / "tools" / "sbom_whole.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_file_that_the_page_brings_along_is_in_the_bill_with_its_sum(sbom):
    modules = sbom.vendored((WEB / "README.md").read_text("utf-8"))
    files = {
        file["name"]: file["hashes"][0]["content"] for module in modules for file in module["components"]
    }
    assert files.keys() == {
        str(path.relative_to(WEB)) for path in WEB.rglob("*") if path.suffix in {".js", ".mjs", ".css"}
    }
    for name, digest in files.items():
        assert hashlib.sha256((WEB / name).read_bytes()).hexdigest() == digest, name
    by_name = {module["name"]: module for module in modules}
    assert by_name["htm"]["licenses"] == [{"expression": "Apache-2.0 AND MIT"}], "it has preact within"
    assert all(
        module["purl"] == f"pkg:npm/{module['name']}@{module['version']}"
        and module["version"].count(".") == 2
        for module in modules
    )


def test_yemai_is_what_the_bill_is_about_and_depends_on_all_and_names_no_machine(sbom):
    modules = sbom.vendored((WEB / "README.md").read_text("utf-8"))
    told = sbom.whole(BOM, modules)
    own = told["metadata"]["component"]
    assert (own["name"], own["type"]) == ("yemai", "application")
    assert "/home/wang" not in str(told)
    assert [one["name"] for one in told["components"]] == ["msgspec", *(module["name"] for module in modules)]
    depends = {one["ref"]: one.get("dependsOn") for one in told["dependencies"]}
    assert depends.pop("yemai==1") == sorted(["msgspec==1", *(module["bom-ref"] for module in modules)])
    assert set(depends) == {one["bom-ref"] for one in told["components"]}


def test_a_bill_without_yemai_or_a_table_that_cannot_be_read_is_no_bill(sbom):
    with pytest.raises(LookupError, match="yemai is not installed there"):
        sbom.whole({**BOM, "components": BOM["components"][1:]}, [])
    with pytest.raises(ValueError, match=r"README\.md has no rows"):
        sbom.vendored("| file | from |\n")
