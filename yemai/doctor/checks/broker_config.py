"""mosquitto's configuration: what it would lose, whom it would let in, what could drown it.

Limits and defaults after mosquitto.conf(5) of 2.0.11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telemetry.text import Text
from yemai.doctor.finding import bad, well

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from yemai.doctor.finding import Finding
    from yemai.doctor.plan import Plan

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LIMITS = {"max_packet_size": 0, "max_queued_messages": 1000, "max_queued_bytes": 0, "memory_limit": 0}
"""Option → default, which is either no bound at all or one that drops what a district queues."""
Settings = dict[str, list[str]]


def check(plan: Plan, now: datetime) -> Iterator[Finding]:  # noqa: ARG001 - as every check
    """Look at the file."""
    if plan.broker_config is None:
        return
    path = plan.broker_config
    try:
        settings = read(path)
    except OSError as error:
        yield bad("broker_config_unreadable", Text(f"{path} 无法读取：{error.strerror}", f"{path} cannot be read: {error.strerror}"),
                  Text("以能读取它的用户运行 doctor", "run the doctor as a user who may read it"))  # fmt: skip
        return
    found = [*_kept(path, settings), *_bounded(path, settings), *_let_in(path, settings)]
    yield from found
    if not found:
        yield well("broker_config", f"{path} 安全", f"{path} is safe")


def read(path: Path) -> Settings:
    """Return option → values in their order, those of ``include_dir`` too; a later listener is one more value."""
    settings: Settings = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        word, _, value = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        settings.setdefault(word, []).append(value.strip())
        if word == "include_dir":
            for other in sorted(path.parent.joinpath(value.strip()).glob("*.conf")):
                for key, values in read(other).items():
                    settings.setdefault(key, []).extend(values)
    return settings


def _kept(path: Path, settings: Settings) -> Iterator[Finding]:
    if _last(settings, "persistence") != "true":
        yield bad("broker_persistence_off",
                  Text(f"{path}：persistence 未开启，重启后保留消息与会话丢失", f"{path}: persistence is off; a restart forgets retained status and sessions"),
                  Text("persistence true，并设 persistence_location", "persistence true, with a persistence_location"))  # fmt: skip


def _bounded(path: Path, settings: Settings) -> Iterator[Finding]:
    for option, default in _LIMITS.items():
        value = _last(settings, option)
        if value is None or value == str(default) or (option != "max_queued_messages" and value == "0"):
            told = value if value is not None else f"{default} (default)"
            yield bad(f"broker_{option}",
                      Text(f"{path}：{option} 为 {told}", f"{path}: {option} is {told}"),
                      Text(f"按 deploy/mosquitto/mosquitto.conf 设 {option}", f"set {option} as deploy/mosquitto/mosquitto.conf does"))  # fmt: skip
    packet = _last(settings, "max_packet_size")
    if packet and packet.isdigit() and 0 < int(packet) < 262_144 + 512:
        yield bad("broker_packet_too_small",
                  Text(f"{path}：max_packet_size {packet} 小于一次上传 (256 KiB)", f"{path}: max_packet_size {packet} is less than an upload may be (256 KiB)"),
                  Text("max_packet_size 300000", "max_packet_size 300000"))  # fmt: skip


def _let_in(path: Path, settings: Settings) -> Iterator[Finding]:
    if _last(settings, "allow_anonymous") == "true":
        yield bad("broker_anonymous", Text(f"{path}：允许匿名连接", f"{path}: anonymous clients are let in"),
                  Text("allow_anonymous false", "allow_anonymous false"))  # fmt: skip
    listeners = [value.split() for value in settings.get("listener", [])] + [
        [v] for v in settings.get("port", [])
    ]
    if any(len(words) < 2 or words[1] not in _LOOPBACK for words in listeners):
        if _last(settings, "certfile") is None:
            yield bad("broker_no_tls", Text(f"{path}：对外监听而无 TLS", f"{path}: listens to the network without TLS"),
                      Text("listener 8883，cafile、certfile、keyfile", "listener 8883 with cafile, certfile and keyfile"))  # fmt: skip
        elif _last(settings, "require_certificate") != "true":
            yield bad("broker_no_client_certificates", Text(f"{path}：不要求客户端证书", f"{path}: asks clients for no certificate"),
                      Text("require_certificate true", "require_certificate true"))  # fmt: skip
    wanted = ("use_identity_as_username", "use_username_as_clientid")
    if any(_last(settings, option) != "true" for option in wanted):
        yield bad("broker_identity", Text(f"{path}：客户端可自选名称，能顶替他人", f"{path}: clients choose their own name and can displace each other"),
                  Text(" true，".join(wanted) + " true", " true and ".join(wanted) + " true"))  # fmt: skip
    yield from _rights(path, settings)


def _rights(path: Path, settings: Settings) -> Iterator[Finding]:
    named = _last(settings, "acl_file")
    if named is None:
        yield bad("broker_no_acl", Text(f"{path}：没有 acl_file，人人可读写一切", f"{path}: no acl_file; everybody may read and write everything"),
                  Text("用 `yemai pki acl` 生成", "make one with `yemai pki acl`"))  # fmt: skip
        return
    try:
        rules = [line.strip() for line in path.parent.joinpath(named).read_text("utf-8").splitlines()]
    except OSError as error:
        yield bad("broker_no_acl", Text(f"acl_file {named} 无法读取：{error.strerror}", f"acl_file {named} cannot be read: {error.strerror}"),
                  Text("用 `yemai pki acl` 生成", "make one with `yemai pki acl`"))  # fmt: skip
        return
    user = ""
    for rule in rules:
        words = rule.split()
        if rule.startswith("#"):
            continue
        user = words[1] if words[:1] == ["user"] and len(words) > 1 else user
        wide = words[:1] == ["topic"] and not user
        if "%c" in rule or wide:
            yield bad("broker_acl_wide", Text(f"acl_file {named}：“{rule}” 过宽", f"acl_file {named}: '{rule}' gives too much"),
                      Text("以 %u（证书 CN）授权，用 `yemai pki acl` 生成", "give rights by %u, the certificate's CN; `yemai pki acl` writes such a file"))  # fmt: skip


def _last(settings: Settings, option: str) -> str | None:
    return settings[option][-1] if option in settings else None
