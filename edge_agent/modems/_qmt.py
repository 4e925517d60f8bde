"""Quectel's own MQTT 3.1.1 (``AT+QMT…``), alike on BC26 and BC28; session 0, payloads in hex both ways.

::

    QMTOPEN ▶ +QMTOPEN: 0,0    QMTCONN ▶ +QMTCONN: 0,0,0    QMTSUB ▶ +QMTSUB: 0,mid,0,qos
    QMTPUB  ▶ +QMTPUB: 0,mid,0 (the PUBACK; 1 is a retransmission, 2 a failure)
    +QMTRECV: 0,mid,"topic","payload"    +QMTSTAT: 0,n (1 closed by the broker, 2 no answer to a ping, 3… )
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_agent.modems._radio import Lost, Published, Step, unhex
from telemetry.wire.at import Command

if TYPE_CHECKING:
    from edge_agent.modems._radio import Heard

_WHY = {
    "1": "the broker has closed it",
    "2": "no answer to a ping",
    "3": "no answer",
    "4": "no answer to CONNECT",
}


def session(
    host: str, port: int, client: str, login: tuple[str, str] | None, keepalive_s: int
) -> tuple[Step, ...]:
    """Return the steps that open a session."""
    who = f'"{client}"' + "".join(f',"{word}"' for word in login or ())
    return (
        Step(Command('AT+QMTCFG="version",0,4')),
        Step(Command(f'AT+QMTCFG="keepalive",0,{keepalive_s}')),
        Step(Command('AT+QMTCFG="session",0,1')),
        Step(Command('AT+QMTCFG="dataformat",0,1,1')),
        Step(
            Command(f'AT+QMTOPEN=0,"{host}",{port}', later=r"\+QMTOPEN: ?0,-?\d+", timeout_s=75),
            r"\+QMTOPEN: ?0,0",
        ),
        Step(
            Command(f"AT+QMTCONN=0,{who}", later=r"\+QMTCONN: ?0,[02](?:,\d+)?", timeout_s=30),
            r"\+QMTCONN: ?0,0,0",
        ),
    )


def subscribe(number: int, topic: str) -> Step:
    """Return the step that asks for a topic."""
    later = rf"\+QMTSUB: ?0,{number},[02](?:,\d+)?"
    return Step(
        Command(f'AT+QMTSUB=0,{number},"{topic}",1', later=later, timeout_s=30),
        rf"\+QMTSUB: ?0,{number},0,[01]",
    )


def publish(number: int, topic: str, payload: bytes, *, retain: bool) -> Step:
    """Return the step that publishes at QoS 1; it is done when the broker has acknowledged."""
    command = f'AT+QMTPUB=0,{number},1,{int(retain)},"{topic}","{payload.hex().upper()}"'
    later = rf"\+QMTPUB: ?0,{number},[02](?:,\d+)?"
    return Step(Command(command, later=later, timeout_s=45), rf"\+QMTPUB: ?0,{number},0")


def close() -> tuple[Command, ...]:
    """Return the commands that end whatever session an earlier process has left."""
    return (Command("AT+QMTDISC=0"), Command("AT+QMTCLOSE=0"))


def heard(line: str) -> Heard:
    """Return what an unsolicited line of MQTT means."""
    if found := re.fullmatch(r'\+QMTRECV: ?0,\d+,"([^"]*)","([0-9A-Fa-f]*)"', line):
        return Published(found[1], unhex(found[2]))
    if found := re.fullmatch(r"\+QMTSTAT: ?0,(\d)", line):
        return Lost(f"the modem's MQTT session is over: {_WHY.get(found[1], found[1])}")
    return None
