"""The broker as it runs: does it answer, which version is it, and has it dropped anything ($SYS)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from telemetry.errors import Unavailable
from telemetry.text import Text
from yemai.doctor.finding import bad, warning, well

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from telemetry.broker import BrokerConfig
    from yemai.doctor.finding import Finding
    from yemai.doctor.plan import Plan

_VERSION, _DROPPED = "$SYS/broker/version", "$SYS/broker/publish/messages/dropped"
_OLDEST = (2, 0, 11)
_PATIENCE_S = 5.0


def check(plan: Plan, now: datetime) -> Iterator[Finding]:  # noqa: ARG001 - as every check
    """Ask the broker."""
    if plan.broker is None:
        return
    where = f"{plan.broker.host}:{plan.broker.port}"
    try:
        told = ask(plan.broker)
    except (OSError, Unavailable) as error:
        yield bad("broker_unreachable", Text(f"消息服务器 {where}：{error}", f"broker {where}: {error}"),
                  Text("检查它是否在运行、证书与端口", "see whether it runs, and its certificates and port"))  # fmt: skip
        return
    version = re.search(r"(\d+)\.(\d+)\.(\d+)", told.get(_VERSION, ""))
    if version and tuple(map(int, version.groups())) < _OLDEST:
        yield bad("broker_old", Text(f"mosquitto {version[0]} 过旧", f"mosquitto {version[0]} is too old"),
                  Text("升级到 2.0.11 或更新", "upgrade to 2.0.11 or newer"))  # fmt: skip
    if not told:
        yield warning("broker_sys_hidden", Text(f"{where} 不让 doctor 读 $SYS", f"{where} does not let the doctor read $SYS"),
                      Text("ACL 中为 doctor 加 topic read $SYS/#", "give user doctor 'topic read $SYS/#' in the ACL"))  # fmt: skip
    if int(told.get(_DROPPED, "0") or 0) > 0:
        yield warning("broker_dropped", Text(f"{where} 已丢弃 {told[_DROPPED]} 条消息（端到端确认会补发）", f"{where} has dropped {told[_DROPPED]} messages (they are sent again end to end)"),
                      Text("查明哪个订阅者离线或过慢；必要时提高 max_queued_messages", "find the subscriber that is away or slow; raise max_queued_messages if need be"))  # fmt: skip
    elif version:
        yield well(
            "broker_running",
            f"{where} 运行 mosquitto {version[0]}，无丢弃",
            f"{where} runs mosquitto {version[0]} and has dropped nothing",
        )


def ask(broker: BrokerConfig) -> dict[str, str]:
    """Return the retained ``$SYS`` values that we may read; raise OSError or Unavailable."""
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="doctor")
    if broker.username is not None:
        client.username_pw_set(broker.username, broker.secret)
    if (tls := broker.tls) is not None:
        client.tls_set_context(tls)
    told: dict[str, str] = {}
    problem: list[str] = []
    client.on_message = lambda _c, _d, message: told.update(
        {message.topic: message.payload.decode("utf-8", "replace")}
    )

    def on_connect(_client: object, _data: object, _flags: object, reason: Any, _properties: object) -> None:
        if reason.is_failure:
            problem.append(str(reason))
        else:
            client.subscribe([(_VERSION, 0), (_DROPPED, 0)])

    client.on_connect = on_connect
    client.connect(broker.host, broker.port, keepalive=10)
    try:
        rounds = int(_PATIENCE_S / 0.1)
        while rounds and not problem and len(told) < 2:
            client.loop(0.1)
            rounds -= 1
    finally:
        client.disconnect()
    if problem:
        raise Unavailable(problem[0])
    return told
