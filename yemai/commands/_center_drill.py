"""``yemai center drill``: an exercise in a running centre, over its API."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from command_center.config import load_config
from telemetry.errors import ConfigError, Refused, Unavailable
from yemai.words import say

KEY = "YEMAI_CENTER_KEY"


def key_of(file: Path | None) -> str:
    """Return the machine's key from a file or the environment; raise :class:`ConfigError` without one."""
    try:
        found = file.read_text("utf-8") if file else os.environ.get(KEY, "")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), "$", f"the key cannot be read: {error}") from None
    if not found.strip():
        raise ConfigError(
            str(file or KEY), "$", "holds no key",
            hint="make one: yemai center key --name drills --right plan.drill --right read",
        )  # fmt: skip
    return found.strip()


async def drill(config: Path, plan: str, device: str, url: str, key: str) -> list[str]:
    """Run a plan as an exercise; return what it comes to, line by line."""
    page = load_config(config).page
    host = "127.0.0.1" if page.host in ("0.0.0.0", "::") else page.host  # noqa: S104 - compared, not bound
    address = (url or f"http://{host}:{page.port}").rstrip("/")
    headers, timeout = {"Authorization": f"Bearer {key}"}, aiohttp.ClientTimeout(total=20)
    try:
        async with (
            aiohttp.ClientSession(headers=headers, timeout=timeout) as http,
            http.post(f"{address}/api/plans/{quote(plan, safe='')}/drill", json={"device": device}) as answer,
        ):
            told: Any = await answer.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        reason = str(error) or "time-out"
        raise Unavailable(
            say(f"指挥中心没有应答（{address}）：{reason}", f"no centre answers at {address}: {reason}")
        ) from None
    if answer.status >= 400:
        words = told.get("error", {}) if isinstance(told, dict) else {}
        raise Refused(say(words.get("zh", str(told)), words.get("en", str(told))))
    return lines_of(told)


def lines_of(run: dict[str, Any]) -> list[str]:
    """Return a run in words."""

    def of(words: dict[str, str]) -> str:
        return say(words["zh"], words["en"])

    lines = [
        say(
            f"【演练】{run['title']['zh']}，{run['response']} 级响应；{run['run']}",
            f"[DRILL] {run['title']['en']}, response {run['response']}; {run['run']}",
        )
    ]
    lines += [
        say(f"  任务  {task['owner']}：{of(task['do'])}", f"  duty    {task['owner']}: {of(task['do'])}")
        for task in run["checklist"]
    ]
    for action in run["actions"]:
        what = action.get("text") or action.get("value")
        problem = f" ({action['problem']})" if action.get("problem") else ""
        lines.append(
            say(
                f"  动作  {of(action['title'])}：{action['device']} {action['metric']} = {what}，未下发{problem}",
                f"  action  {of(action['title'])}: {action['device']} {action['metric']} = {what}, not sent{problem}",
            )
        )
    return lines
