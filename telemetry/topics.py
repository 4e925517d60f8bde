"""MQTT topic names: the one module that spells them.

::

    yemai/v1/{area}/{agent}/up            uploads            agent → cloud
    yemai/v1/{area}/{agent}/ack           committed ranges   cloud → agent
    yemai/v1/{area}/{agent}/status        birth, last will   agent → all, retained
    yemai/v1/{area}/{agent}/cmd           commands           centre → agent
    yemai/v1/{area}/{agent}/cmd/result    their results      agent → centre
    yemai/v1/{area}/{agent}/config        wanted set-up      cloud → agent, retained
    yemai/v1/{area}/alarm/{alarm_id}      the alarm feed     cloud → all
    yemai/v1/{area}/alarm-ack/{consumer}  its receipts       consumer → cloud
"""

from __future__ import annotations

import re

from telemetry.errors import Refused

ROOT = "yemai/v1"
QOS = 1
_LEVEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RESERVED = frozenset({"alarm", "alarm-ack"})


def level(name: str, *, what: str = "name") -> str:
    """Return ``name`` if it may stand as one topic level; otherwise say what may.

    >>> level("edge-01")
    'edge-01'
    """
    if not _LEVEL.fullmatch(name) or name in _RESERVED:
        msg = f"{what} {name!r} cannot be part of a topic; use letters, digits, '-', '_' and '.', at most 64"
        raise Refused(msg)
    return name


def up(area: str, agent: str) -> str:
    """Where an agent publishes its uploads.

    >>> up("yeji", "edge-01")
    'yemai/v1/yeji/edge-01/up'
    """
    return f"{ROOT}/{area}/{agent}/up"


def ack(area: str, agent: str) -> str:
    """Where the cloud tells an agent what is committed."""
    return f"{ROOT}/{area}/{agent}/ack"


def status(area: str, agent: str) -> str:
    """Where an agent's birth and last will are retained."""
    return f"{ROOT}/{area}/{agent}/status"


def config(area: str, agent: str) -> str:
    """Where the configuration wanted of an agent is retained."""
    return f"{ROOT}/{area}/{agent}/config"


def cmd(area: str, agent: str) -> str:
    """Where an agent takes commands."""
    return f"{ROOT}/{area}/{agent}/cmd"


def cmd_result(area: str, agent: str) -> str:
    """Where an agent tells what became of them."""
    return f"{ROOT}/{area}/{agent}/cmd/result"


def alarm(area: str, alarm_id: str) -> str:
    """Where the news of one alarm is published."""
    return f"{ROOT}/{area}/alarm/{alarm_id}"


def alarm_ack(area: str, consumer: str) -> str:
    """Where a consumer of the alarm feed acknowledges."""
    return f"{ROOT}/{area}/alarm-ack/{consumer}"


def agent_of(topic: str) -> str | None:
    """Return the agent whose branch this topic lies in, or None for any other topic.

    >>> agent_of("yemai/v1/yeji/edge-01/up"), agent_of("yemai/v1/yeji/alarm/38e0"), agent_of("x")
    ('edge-01', None, None)
    """
    parts = topic.split("/")
    if len(parts) < 5 or parts[:2] != ["yemai", "v1"] or parts[3] in _RESERVED:
        return None
    return parts[3]
