"""SIMCom's own MQTT 3.1.1 (``AT+CMQ…``) on SIM7020; client 0, payloads in hex, lengths count hex characters.

::

    CMQNEW ▶ +CMQNEW: 0    CMQCON ▶ OK    CMQSUB ▶ OK    CMQPUB ▶ OK: the modem answers for the PUBACK
    +CMQPUB: 0,"topic",qos,retained,dup,length,"payload"    +CMQDISCON: 0
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_agent.modems._radio import Lost, Published, Step, unhex
from telemetry.wire.at import Command

if TYPE_CHECKING:
    from edge_agent.modems._radio import Heard

_BUFFER, _ANSWER_MS = 1024, 12_000


def session(
    host: str, port: int, client: str, login: tuple[str, str] | None, keepalive_s: int
) -> tuple[Step, ...]:
    """Return the steps that open a session."""
    who = "".join(f',"{word}"' for word in login or ())
    return (
        Step(
            Command(
                f'AT+CMQNEW="{host}","{port}",{_ANSWER_MS},{_BUFFER}', info=r"\+CMQNEW: ?\d+", timeout_s=60
            ),
            r"\+CMQNEW: ?0",
        ),
        Step(Command(f'AT+CMQCON=0,3,"{client}",{keepalive_s},1,0{who}', timeout_s=60)),
    )


def subscribe(number: int, topic: str) -> Step:
    """Return the step that asks for a topic."""
    del number
    return Step(Command(f'AT+CMQSUB=0,"{topic}",1', timeout_s=30))


def publish(number: int, topic: str, payload: bytes, *, retain: bool) -> Step:
    """Return the step that publishes at QoS 1."""
    del number
    command = f'AT+CMQPUB=0,"{topic}",1,{int(retain)},0,{2 * len(payload)},"{payload.hex()}"'
    return Step(Command(command, timeout_s=45))


def close() -> tuple[Command, ...]:
    """Return the command that ends whatever session an earlier process has left."""
    return (Command("AT+CMQDISCON=0"),)


def heard(line: str) -> Heard:
    """Return what an unsolicited line of MQTT means."""
    if found := re.fullmatch(r'\+CMQPUB: ?0,"([^"]*)",\d,\d,\d,\d+,"([0-9A-Fa-f]*)"', line):
        return Published(found[1], unhex(found[2]))
    if re.fullmatch(r"\+CMQDISCON: ?0", line):
        return Lost("the modem's MQTT session is over")
    return None
