"""The uids of all boards, to name tests by."""

from dashboards.generate import GENERATED

UIDS = sorted(path.stem for path in GENERATED.glob("*/*.json"))
