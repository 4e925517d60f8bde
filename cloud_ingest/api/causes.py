"""Why a device said nothing good for a while.

What its agent itself tells that it lost explains most; then what was read and could not be believed, or the device's
own silence as the agent met it; where neither is known, nothing came.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from telemetry.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloud_ingest.api.parts import Parts
    from cloud_ingest.registry.model import Device

SILENT = "silent"


def explained(parts: Parts, device: Device, gaps: Iterable[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return gaps (UTC ms) with their cause and what the agent told of them; asks the store once for each."""
    found = []
    for begin, end in gaps:
        losses = parts.ledger.losses(device.agent, (begin, end))
        cause = losses[-1]["cause"] if losses else _doubt(parts, device, begin, end)
        found.append(
            {
                "from_ms": begin,
                "to_ms": end,
                "seconds": (end - begin) / 1000,
                "cause": cause,
                "losses": losses,
            }
        )
    return found


def _doubt(parts: Parts, device: Device, begin: int, end: int) -> str:
    codes = parts.store.doubts(device.device_class, device.id, (begin + 1, end - 1))
    if not codes:
        return SILENT
    code, _ = max(Counter(codes.values()).items(), key=lambda item: (item[1], item[0]))
    try:
        return Quality(code).name.lower()
    except ValueError:  # of a newer agent
        return f"quality_{code}"
