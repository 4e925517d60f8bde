"""Who may read and write which topics: mosquitto's ``acl_file`` for one area.

``%u`` is the certificate's CN.  Never ``%c``: a client chooses its id itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry import topics

if TYPE_CHECKING:
    from collections.abc import Sequence


def acl(
    area: str, *, ingests: Sequence[str] = ("ingest-1",), centers: Sequence[str] = ("center",),
    operators: Sequence[str] = (), gateways: Sequence[str] = (),
) -> str:  # fmt: skip
    """Return the file; names that could not be a topic's level are :class:`~telemetry.errors.Refused`.

    ``operators`` push configurations, ``gateways`` speak for agents that send datagrams.
    """
    for name in (area, *ingests, *centers, *operators, *gateways):
        topics.level(name)
    root = f"{topics.ROOT}/{area}"
    told = [
        f"# Area {area}. An agent is known by its certificate's CN (%u) and has its own branch, no other.",
        f"pattern write {root}/%u/up",
        f"pattern write {root}/%u/status",
        f"pattern write {root}/%u/cmd/result",
        f"pattern read {root}/%u/ack",
        f"pattern read {root}/%u/cmd",
        f"pattern read {root}/%u/config",
    ]
    for name in ingests:
        told += [
            "",
            f"user {name}",
            *(f"topic read {root}/+/{end}" for end in ("up", "status", "cmd/result")),
        ]
        told += [f"topic write {root}/+/{end}" for end in ("ack", "config")]
        told += [f"topic write {root}/alarm/+", f"topic read {root}/alarm-ack/+"]
    for name in centers:
        told += ["", f"user {name}", f"topic read {root}/alarm/+", f"topic write {root}/alarm-ack/+"]
        told += [
            f"topic read {root}/+/status",
            f"topic write {root}/+/cmd",
            f"topic read {root}/+/cmd/result",
        ]
    for name in operators:
        told += ["", f"user {name}", f"topic readwrite {root}/+/config", f"topic read {root}/+/status"]
    for name in gateways:
        told += [
            "",
            f"user {name}",
            *(f"topic write {root}/+/{end}" for end in ("up", "status", "cmd/result")),
        ]
        told += [f"topic read {root}/+/{end}" for end in ("ack", "cmd", "config")]
    told += ["", "user doctor", "topic read $SYS/#"]
    return "\n".join(told) + "\n"
