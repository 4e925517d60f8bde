"""Make the bill of an environment that of Yemai: itself on top, and the browser's modules that pip knows nothing of.

Reads CycloneDX 1.6 from standard input and writes it, validated, to standard output; ``tools/sbom`` runs it.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

VENDORED = Path("command_center/web/vendor/README.md")
_ROW = re.compile(r"^\| `([^`]+)` \| (\S+) (\S+) .*?\| ([^|]+) \|[^|]+\| `([0-9a-f]{64})` \|$", re.MULTILINE)
_LICENCES = re.compile(r"; (?:\S+: )?")
Component = dict[str, Any]


def vendored(readme: str) -> list[Component]:
    """Return a component for each npm release in the table of vendored files, with its files and their SHA-256.

    Raises ValueError for a table without rows: its form has changed.
    """
    found: dict[str, Component] = {}
    for file, name, version, licences, digest in _ROW.findall(readme):
        purl = f"pkg:npm/{name}@{version}"
        component = found.setdefault(purl, {
            "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
            "licenses": [{"expression": " AND ".join(_LICENCES.split(licences.strip()))}], "components": [],
        })  # fmt: skip
        hashes = [{"alg": "SHA-256", "content": digest}]
        component["components"].append({"type": "file", "name": file, "hashes": hashes})
    if not found:
        raise ValueError(f"{VENDORED} has no rows of the form that is known here")
    return list(found.values())


def whole(bom: dict[str, Any], modules: list[Component]) -> dict[str, Any]:
    """Return the bill with Yemai as what it is about and ``modules`` among what it depends on.

    Raises LookupError when Yemai is not installed there.
    """
    ours = [one for one in bom["components"] if one["name"] == "yemai"]
    if not ours:
        raise LookupError("yemai is not installed there")
    own: Component = {key: value for key, value in ours[0].items() if key != "externalReferences"}
    own["type"] = "application"  # and no path of the machine it was installed on
    refs = [one["bom-ref"] for one in modules]
    depends = {one["ref"]: one.get("dependsOn", []) for one in bom.get("dependencies", [])}
    depends[own["bom-ref"]] = sorted({*depends.get(own["bom-ref"], []), *refs})
    depends |= {ref: [] for ref in refs}
    return {
        **bom,
        "metadata": {**bom.get("metadata", {}), "component": own},
        "components": [one for one in bom["components"] if one is not ours[0]] + modules,
        "dependencies": [
            {"ref": ref, **({"dependsOn": on} if on else {})} for ref, on in sorted(depends.items())
        ],
    }


def main(root: Path) -> None:
    """Read, complete, validate and write."""
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415 - only in the tool's own environment
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    bom = whole(json.load(sys.stdin), vendored((root / VENDORED).read_text("utf-8")))
    text = json.dumps(bom, ensure_ascii=False, indent=1)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"not CycloneDX 1.6: {problem}")
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
