"""``python -m rules.detectors score FILE.csv --time COLUMN --value COLUMN …``: what the detectors say of a file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rules.scorefile import Wish, lines
from telemetry.errors import YemaiError


def main(argv: list[str] | None = None) -> int:
    """Print a line for each value, in time order; 2 for a file that cannot be read."""
    parser = argparse.ArgumentParser("python -m rules.detectors", description=__doc__)
    score = parser.add_subparsers(required=True).add_parser("score", help="score the columns of a CSV file")
    score.add_argument("file", type=Path, help="CSV with a heading; .gz is unpacked")
    score.add_argument("--time", default="", help="column of the time; the first where it is left out")
    score.add_argument(
        "--value", nargs="+", default=[], help="columns to score; all that hold numbers where left out"
    )
    score.add_argument("--missing", nargs="*", default=["-9999"], help="values that mean none (-9999)")
    score.add_argument("--budget", type=float, default=0.01, help="alarms a day for each column (0.01)")
    score.add_argument("--detectors", nargs="+", default=[], help="some of them; all where left out")
    score.add_argument(
        "--utc-offset", type=float, default=0.0, help="hours by which local time is ahead of UTC (0)"
    )
    score.add_argument(
        "--together", action="store_true", help="judge the first eight columns together as well, as series *"
    )
    score.add_argument("--json", action="store_true", help="JSON lines with the reason in zh and en")
    score.add_argument("--alarms", action="store_true", help="only the values at which an alarm begins")
    given = parser.parse_args(argv)
    wish = Wish(
        given.file, given.time, tuple(given.value), frozenset(map(float, given.missing)), given.budget,
        tuple(given.detectors), given.utc_offset, given.together,
    )  # fmt: skip
    try:
        for line in lines(wish, as_json=given.json, only_alarms=given.alarms):
            print(line)  # noqa: T201 - a command's words to its user
    except YemaiError as error:
        print(f"rules.detectors: {error}", file=sys.stderr)  # noqa: T201 - likewise
        return 2
    except BrokenPipeError:
        sys.stderr.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
