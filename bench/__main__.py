"""``python -m bench [NAME]``: without a name, all of them."""

from __future__ import annotations

import sys

import msgspec

from telemetry import plugins
from telemetry.errors import Refused

NOT_BENCHES = {"figure", "district", "live", "stage"}


def main() -> int:
    """Print one JSON object a line."""
    known = [name for name in plugins.names("bench") if name not in NOT_BENCHES]
    asked = [name for word in sys.argv[1:] for name in _named(word, known)]
    for name in asked or known:
        try:
            bench = plugins.load("bench", name)
        except Refused as error:
            print(f"bench: {error}", file=sys.stderr)
            return 2
        for figure in bench.run():
            print(msgspec.json.encode(figure).decode(), flush=True)
    return 0


def _named(word: str, known: list[str]) -> list[str]:
    """Return the benches that ``word`` names: ``edge`` also names ``edge_agent``."""
    return [name for name in known if name == word or name.startswith(f"{word}_")] or [word]


if __name__ == "__main__":
    sys.exit(main())
