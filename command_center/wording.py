"""What a message says: short enough for a telephone, with the colour in words, in the reader's language."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from command_center.lifecycle import Alarm
    from telemetry.text import Text

Reason = Literal["alarm", "repeat", "recovery", "plan"]
COLOUR = {"zh": ("", "蓝色", "黄色", "橙色", "红色"), "en": ("", "Blue", "Yellow", "Orange", "Red")}
_WHY = {
    "alarm": {"zh": "告警", "en": "alarm"},
    "repeat": {"zh": "仍未确认", "en": "still not acknowledged"},
    "recovery": {"zh": "已恢复", "en": "over"},
    "plan": {"zh": "预案启动", "en": "plan begun"},
}


def facts(
    alarm: Alarm, reason: str, place: Text | None, zone: ZoneInfo, lang: Literal["zh", "en"]
) -> dict[str, str]:
    """Return what a template may ask for: level, title, device, value, time, state."""
    at = datetime.fromtimestamp(alarm.began_ms / 1000, UTC).astimezone(zone)
    value = "" if alarm.value is None else f"{alarm.value:g}{alarm.unit}"
    return {
        "level": COLOUR[lang][alarm.worst],
        "title": getattr(alarm.title, lang),
        "device": getattr(place, lang) if place else alarm.device,
        "value": value,
        "time": f"{at:%m-%d %H:%M:%S}",
        "state": _WHY[reason][lang],
    }


def code(digits: str, lang: Literal["zh", "en"]) -> dict[str, str]:
    """Return the facts of a message that carries a code, so that a template made for alarms can carry it too."""
    words = {
        "zh": ("核验", f"核验码 {digits}", "在指挥中心输入，10 分钟内有效"),
        "en": ("Check", f"code {digits}", "enter it at the command centre within 10 minutes"),
    }
    level, title, device = words[lang]
    return {"level": level, "title": title, "device": device, "value": digits, "time": "", "state": ""}


def answer(address: str, lang: Literal["zh", "en"]) -> str:
    """Return the line by which a person acknowledges."""
    return (
        f"{'打开并确认（仅限本人）' if lang == 'zh' else 'Open and acknowledge (for you alone)'}: {address}"
    )


def look(address: str, lang: Literal["zh", "en"]) -> str:
    """Return the line that leads to the page, where one signs in."""
    return f"{'指挥中心' if lang == 'zh' else 'Command centre'}: {address}"


def said_later(facts: dict[str, str], at_ms: int, zone: ZoneInfo) -> dict[str, str]:
    """Return the facts of a message that comes later than its alarm, with its own time beside the state.

    WeCom drops what has the words of a message of the last half hour.
    """
    at = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    return {**facts, "state": f"{facts['state']} {at:%H:%M:%S}"}


def title_of(facts: dict[str, str]) -> str:
    """Return the first line."""
    return f"[{facts['level']} {facts['state']}] {facts['title']}"


def text_of(facts: dict[str, str]) -> str:
    """Return the lines below the first."""
    return "\n".join(line for line in (facts["device"], facts["value"], facts["time"]) if line)


def digest(worst: Sequence[Alarm], count: int, lang: Literal["zh", "en"]) -> tuple[str, str, dict[str, str]]:
    """Return title, text and facts of ``count`` alarms at once: how many, the worst, and the worst few by name."""
    colour, more = COLOUR[lang][worst[0].worst], count - len(worst)
    words = f"{count} 条告警，最高{colour}" if lang == "zh" else f"{count} alarms, the worst {colour}"
    state = "汇总" if lang == "zh" else "digest"
    lines = [f"{COLOUR[lang][alarm.worst]} {getattr(alarm.title, lang)} {alarm.device}" for alarm in worst]
    if more > 0:
        lines.append(f"另有 {more} 条" if lang == "zh" else f"and {more} more")
    told = {
        "level": colour,
        "title": words,
        "device": worst[0].device,
        "value": str(count),
        "time": "",
        "state": state,
    }
    return f"[{state}] {words}", "\n".join(lines), told
