"""``python -m dashboards [--check]``: write the generated boards, or say whether they are current."""

from __future__ import annotations

import sys

from dashboards.generate import GENERATED, drift, write


def main() -> int:
    """Write the boards, or with ``--check`` name those that are not current."""
    if "--check" not in sys.argv[1:]:
        write()
        return 0
    stale = drift()
    for name in stale:
        print(f"{GENERATED.name}/{name} is not current", file=sys.stderr)  # noqa: T201
    if stale:
        print("run: python -m dashboards", file=sys.stderr)  # noqa: T201
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
