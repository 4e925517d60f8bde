"""``python -m device_profiles.schema [--check]``: the JSON Schema of a profile file, for editors."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from device_profiles.profile import ProfileFile

FILE = Path(__file__).parent / "profile.schema.json"


def text() -> str:
    """Return the schema (JSON Schema 2020-12) as it is to be committed."""
    schema = msgspec.json.schema(ProfileFile)
    return msgspec.json.format(msgspec.json.encode(schema), indent=1).decode() + "\n"


def main() -> int:
    """Write the file, or with ``--check`` say whether it is current."""
    if "--check" in sys.argv[1:]:
        current = FILE.exists() and FILE.read_text("utf-8") == text()
        if not current:
            print(f"{FILE.name} is not current; run: python -m device_profiles.schema", file=sys.stderr)  # noqa: T201
        return 0 if current else 1
    FILE.write_text(text(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
