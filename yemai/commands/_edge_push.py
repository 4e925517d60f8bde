"""``yemai edge push``: hand configurations to agents by way of the broker, and see what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import aiomqtt
import msgspec

from edge_agent.config import load_config
from telemetry import codecs, topics
from telemetry.broker import BrokerConfig
from telemetry.codecs import json
from telemetry.config import load_toml, without_secrets
from telemetry.errors import Malformed, Refused, Unavailable
from telemetry.mqtt import Client
from telemetry.readings import AgentStatus, ConfigState, DesiredConfig
from yemai.words import say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_agent.config import AgentConfig

_RETAINED_S = 2.0  # within which the broker has handed out what it keeps
_ANSWER_S = 10.0
_MOST_BYTES = 1024 * 1024


class _Any(msgspec.Struct, frozen=True):
    """Any configuration file that names the broker."""

    broker: BrokerConfig


class Push(msgspec.Struct, frozen=True):
    """What is to be done: ``version`` is derived from the text where it is empty; ``wait_s`` 0 does not wait."""

    version: str = ""
    confirm_s: float = 300.0
    force: bool = False
    wait_s: float = 0.0
    only_show: bool = False
    packs: Path | None = None


class _Agent(msgspec.Struct):
    area: str
    agent: str
    desired: DesiredConfig
    before: DesiredConfig | None = None
    status: AgentStatus | None = None

    @property
    def name(self) -> str:
        return f"{self.area}/{self.agent}"

    @property
    def state(self) -> ConfigState:
        return (self.status.config if self.status else None) or ConfigState()

    @property
    def verdict(self) -> str:
        """What became of the version that was pushed; empty while that is open."""
        state = self.state
        if state.wanted != self.desired.version or state.state == "trying":
            return ""
        return state.state


async def push(broker_file: Path, files: Sequence[Path], wanted: Push, echo: Callable[[str], None]) -> bool:
    """Push ``files``, whole ``edge.toml``s, each to the agent that it names; return whether none was turned down.

    Raises :class:`~telemetry.errors.ConfigError` before anything is sent when one of them is wrong.
    """
    broker = load_toml(broker_file, _Any).broker
    agents = {agent.name: agent for agent in (_checked(path, wanted) for path in files)}
    if len(agents) < len(files):
        raise Refused(say("两个文件指向同一个代理", "two of the files name the same agent"))
    client = Client(
        broker.host, broker.port, username=broker.username, password=broker.secret, tls_context=broker.tls,
        timeout=_ANSWER_S,
    )  # fmt: skip
    try:
        async with client:
            changed = asyncio.Event()
            hearing = asyncio.ensure_future(_hear(client, agents, changed))
            try:
                await _push(client, agents, wanted, echo, changed)
            finally:
                hearing.cancel()
                await asyncio.wait({hearing})
    except aiomqtt.MqttError as error:
        raise Unavailable(f"{broker.host}:{broker.port}: {error}") from None
    if wanted.only_show or not wanted.wait_s:
        return True
    well = [_report(agent, echo) for agent in agents.values()]  # each is told of
    return all(well)


def _checked(path: Path, wanted: Push) -> _Agent:
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    with without_secrets():  # they lie at the site
        config = load_config(path)
        if wanted.packs is not None:
            text = _with_packs(text, config, wanted.packs)
            config = load_config(path, text)
    version = wanted.version or hashlib.blake2b(text.encode(), digest_size=5).hexdigest()
    return _Agent(config.area, config.agent, DesiredConfig(version, text, wanted.confirm_s, wanted.force))


def _with_packs(text: str, config: AgentConfig, folder: Path) -> str:
    """Return the file with the district's own packs of its classes in it."""
    if config.judgement.inline:
        raise Refused(
            say(f"{config.path} 已含规则包", f"{config.path} has packs in it already: leave --packs away")
        )
    classes = {device.profile.device_class for bus in config.buses for device in bus.devices}
    found = [path for name in sorted(classes) if (path := folder / f"{name}.yaml").is_file()]
    if not found:
        raise Refused(
            say(f"{folder} 没有所需的规则包", f"{folder} has no pack of {', '.join(sorted(classes))}")
        )
    parts = [text.rstrip("\n"), "", "[judgement.inline]"]
    for path in found:
        rules = path.read_text(encoding="utf-8")
        if "'''" in rules:
            raise Refused(f"{path}: three single quotes in a row cannot be put into TOML")
        parts.append(f"{path.stem} = '''\n{rules}'''")
    return "\n".join(parts) + "\n"


async def _push(
    client: aiomqtt.Client,
    agents: dict[str, _Agent],
    wanted: Push,
    echo: Callable[[str], None],
    changed: asyncio.Event,
) -> None:
    for agent in agents.values():
        wants = [topics.config(agent.area, agent.agent), topics.status(agent.area, agent.agent)]
        await client.subscribe([(topic, topics.QOS) for topic in wants])
    await _until(lambda: all(a.before and a.status for a in agents.values()), changed, _RETAINED_S)
    for agent in agents.values():
        _show(agent, echo)
        if not wanted.only_show:
            topic = topics.config(agent.area, agent.agent)
            await client.publish(topic, json.encode(agent.desired), topics.QOS, retain=True)
            echo(
                say(
                    f"{agent.name}：已推送 {agent.desired.version}",
                    f"{agent.name}: pushed {agent.desired.version}",
                )
            )
    if wanted.wait_s and not wanted.only_show:
        await _until(lambda: all(agent.verdict for agent in agents.values()), changed, wanted.wait_s)


async def _hear(client: aiomqtt.Client, agents: dict[str, _Agent], changed: asyncio.Event) -> None:
    async for message in client.messages:
        _, _, area, name, kind = str(message.topic).split("/", 4)
        agent = agents.get(f"{area}/{name}")
        if agent is None:
            continue
        with contextlib.suppress(Malformed):
            if kind == "status":
                agent.status = codecs.decode(bytes(message.payload), AgentStatus, max_bytes=_MOST_BYTES)
            elif message.retain:
                agent.before = codecs.decode(bytes(message.payload), DesiredConfig, max_bytes=_MOST_BYTES)
        changed.set()


async def _until(holds: Callable[[], object], changed: asyncio.Event, within_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not holds():
                changed.clear()
                await changed.wait()


def _show(agent: _Agent, echo: Callable[[str], None]) -> None:
    state, status = agent.state, agent.status
    if status is None:
        echo(say(f"{agent.name}：消息代理没有它的状态", f"{agent.name}: the broker knows nothing of it"))
    else:
        online = (
            say("在线", "online")
            if status.online
            else say("离线，上线后收到", "offline, and gets it when it is back")
        )
        runs = state.running or say("本机文件", "the file on its own disk")
        echo(say(f"{agent.name}：{online}；正在运行 {runs}", f"{agent.name}: {online}; runs {runs}"))
        if state.wanted != state.running or state.error:
            echo(f"  {state.wanted}: {_word(state.state)} {state.error}".rstrip())
    if agent.before is None:
        echo(say("  以前没有推送过配置", "  nothing was pushed to it before"))
        return
    lines = difflib.unified_diff(
        agent.before.text.splitlines(), agent.desired.text.splitlines(), agent.before.version, agent.desired.version,
        n=1, lineterm="",
    )  # fmt: skip
    for line in list(lines) or [say("没有变化", "no difference")]:
        echo(f"  {line}")


def _report(agent: _Agent, echo: Callable[[str], None]) -> bool:
    verdict = agent.verdict
    if not verdict:
        state = (
            _word(agent.state.state)
            if agent.state.wanted == agent.desired.version
            else say("没有回音", "no word yet")
        )
        echo(say(f"{agent.name}：等待超时，{state}", f"{agent.name}: waited in vain, {state}"))
        return False
    echo(
        f"{agent.name}: {agent.desired.version} {_word(verdict)}{f': {agent.state.error}' if agent.state.error else ''}"
    )
    return verdict == "in_force"


def _word(state: str) -> str:
    return {
        "in_force": say("已生效", "is in force"),
        "trying": say("正在试运行", "is being tried"),
        "refused": say("被拒绝", "was refused"),
        "rolled_back": say("已回滚", "was rolled back"),
    }.get(state, state)
