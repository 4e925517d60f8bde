"""``yemai demo``: plan, start, keep running; ``--check``: prove it; ``scenario``: make something happen."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from simulators.district import load_district
from telemetry.errors import Refused, Unavailable
from yemai.demo.people import Entrance, make_people
from yemai.demo.plan import Plan, make_plan
from yemai.demo.proof import prove
from yemai.demo.services import services
from yemai.demo.story import Story
from yemai.demo.supervisor import Supervisor
from yemai.words import say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

STATE_FILE = "demo.json"
_STORY_S = 180.0


class State(msgspec.Struct, frozen=True):
    """What a running demo leaves in its data folder for others to find it by."""

    pid: int
    page: str
    data_api: str
    simulators: str
    key: str
    """To the desk's API, for reading."""


@contextlib.asynccontextmanager
async def district(
    data: Path, *, port: int, seed: int, quiet: bool = False
) -> AsyncIterator[tuple[Plan, Supervisor, Entrance]]:
    """Run a whole district under ``data`` until the block ends."""

    def tell(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            say(
                f"不能在 {data} 存放数据：{error.strerror}；用 --data 另选目录",
                f"cannot keep data in {data}: {error.strerror}; choose another folder with --data",
            )
        ) from None
    with _only_one(data):
        plan = make_plan(load_district(), data.resolve(), page_port=port, seed=seed)
        tell(
            say(
                f"正在启动 {len(plan.agents)} 个边缘代理、{plan.device_count} 台设备 …",
                f"Starting {len(plan.agents)} edge agents and {plan.device_count} devices …",
            )
        )

        def ended(name: str, code: int) -> None:
            tell(
                say(
                    f"{name} 退出（代码 {code}），正在重启；日志在 {plan.logs / name}.log",
                    f"{name} ended with code {code} and starts again; its log is {plan.logs / name}.log",
                )
            )

        state, entrance = data / STATE_FILE, await make_people(plan)
        async with Supervisor(services(plan), logs=plan.logs, on_exit=ended) as supervisor:
            told = State(os.getpid(), plan.page_url, plan.data_url, plan.simulators_url, plan.key)
            whole = state.with_suffix(".new")
            whole.touch(mode=0o600)
            whole.write_bytes(msgspec.json.encode(told))
            whole.replace(state)
            try:
                yield plan, supervisor, entrance
            finally:
                state.unlink(missing_ok=True)
                tell(say("正在停止 …", "Stopping …"))


async def run(data: Path, *, port: int, seed: int) -> int:
    """Run the demo until SIGINT or SIGTERM; return the exit code."""
    with _stop_on_signal() as stop:
        async with district(data, port=port, seed=seed) as (_, _, entrance):
            print(say(f"页面：{entrance.link}", f"The page: {entrance.link}"), flush=True)
            logins = ", ".join(entrance.logins)
            print(
                say(
                    f"链接只能用一次，以演示值班员登录。演示用户：{logins}；密码到下次启动为止：{entrance.password}",
                    f"The link signs in the demo's operator, once. Throw-away users: {logins}; "
                    f"their password until the next start: {entrance.password}",
                ),
                flush=True,
            )
            print(
                say(
                    "试试：yemai demo scenario charger_overheats；Ctrl-C 停止",
                    "Try: yemai demo scenario charger_overheats; Ctrl-C stops",
                ),
                flush=True,
            )
            await stop.wait()
    return 0


async def check(data: Path, *, port: int, seed: int, duration_s: float, as_json: bool) -> int:
    """Run headless for ``duration_s``, prove the count and the alarms; return 0 only if both hold."""
    with _stop_on_signal() as stop:
        async with district(data, port=port, seed=seed, quiet=as_json) as (plan, supervisor, _):
            proving = asyncio.ensure_future(prove(plan, supervisor, duration_s=duration_s))
            stopped = asyncio.ensure_future(stop.wait())
            await asyncio.wait({proving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not proving.done():
                proving.cancel()
                return 130
            verdict = proving.result()
    text = msgspec.json.encode(verdict)
    print((text if as_json else msgspec.json.format(text, indent=2)).decode())
    return 0 if verdict.ok else 1


async def play(data: Path, name: str | None, *, follow: bool = False) -> int:
    """Start scenario ``name`` in the running demo, or list what there is; return the exit code.

    ``follow`` plays the operator as well, and prints the incident's timeline until it is closed.
    """
    try:
        state = msgspec.json.decode((data / STATE_FILE).read_bytes(), type=State)
    except (OSError, msgspec.DecodeError):
        raise Unavailable(
            say(
                f"{data} 里没有正在运行的演示；先运行 yemai demo --data {data}",
                f"no demo is running on {data}; start one with: yemai demo --data {data}",
            )
        ) from None
    if follow and name is not None:
        return await _follow(state, name)
    told = await _start(state, name)
    if told is None:
        return 0
    _announce(told)
    print(say(f"请看 {state.page}", f"watch {state.page}"))
    return 0


def _announce(told: dict[str, Any]) -> None:
    for expected in told["expect"]:
        print(
            say(
                f"应有告警：{expected['device']} · {expected['rule']} · {expected['severity']}",
                f"expect an alarm: {expected['device']} · {expected['rule']} · {expected['severity']}",
            ),
            flush=True,
        )


async def _follow(state: State, name: str) -> int:
    headers = {"Authorization": f"Bearer {state.key}"}
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(state.page, headers=headers, timeout=timeout) as http:
        story = Story(http, lambda line: print(line, flush=True))
        before = await story.known()
        told = await _start(state, name) or {"expect": []}
        _announce(told)
        devices = [expected["device"] for expected in told["expect"]]
        incident = await story.follow(before, devices, _STORY_S)
    print(say(f"事件 {incident['id']} 已关闭", f"incident {incident['id']} is closed"))
    return 0


async def _start(state: State, name: str | None) -> dict[str, Any] | None:
    """Start a scenario; return what it says of itself, or None when only the list was asked for."""
    try:
        async with aiohttp.ClientSession(state.simulators, timeout=aiohttp.ClientTimeout(total=5)) as http:
            if name is None:
                async with http.get("/scenarios") as answer:
                    for entry in await answer.json():
                        print(f"{entry['name']:24} {say(entry['title']['zh'], entry['title']['en'])}")
                return None
            async with http.post(f"/scenarios/{name}") as answer:
                told = await answer.json()
                if answer.status >= 400:
                    raise Refused(told.get("error", str(told)))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unavailable(
            say(
                f"演示没有应答（{state.simulators}）：{error}",
                f"the demo does not answer at {state.simulators}: {error}",
            )
        ) from None
    return dict(told)


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unavailable(
                say(
                    f"{data} 上已有一个演示在运行；先停止它，或用 --data 另选目录",
                    f"a demo is already running on {data}; stop it, or choose another folder with --data",
                )
            ) from None
        yield


@contextlib.contextmanager
def _stop_on_signal() -> Iterator[asyncio.Event]:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    try:
        yield stop
    finally:
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(signum)
