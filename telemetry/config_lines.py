"""On which line of a TOML file a field stands: people look for lines, not for ``$.buses[3].devices[17]``.

``tomllib`` does not tell.  Headers and the keys at the beginning of a line are enough: what stands within a line is
found with it, and what is missing at the header of its table.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.config_chinese import put_in_chinese
from telemetry.text import language

if TYPE_CHECKING:
    from telemetry.errors import ConfigError

_HEADER = re.compile(r"\s*(?P<open>\[\[?)\s*(?P<name>[A-Za-z_][\w.-]*)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"\s*(?P<name>[\w-]+(\.[\w-]+)*)\s*=")
_LAST_STEP = re.compile(r"(\.[^.\[\]]+|\[\d+\])$")
_QUOTES = re.compile(r"\"\"\"|'''")


def with_lines(error: ConfigError) -> str:
    """Return the message of an error in the reader's language.

    Each mistake has its line where the file is TOML and still there.
    """
    word = "line {}"
    if language() == "zh":
        error, word = put_in_chinese(error), "第 {} 行"
    return "\n".join(one.at(_line(one, word)) for one in (error, *error.also))


def line_of(text: str, path: str) -> int | None:
    r"""Return the line on which a field stands, or the table that it is missing from; None for the whole file.

    >>> line_of("a = 1\n[[b]]\nc = 1\n[[b]]\n[[b.d]]\ne = { f = 2 }", "$.b[1].d[0].e.f")
    6
    """
    lines = _lines(text)
    while path not in lines:
        shorter = _LAST_STEP.sub("", path)
        if shorter == path:
            return None
        path = shorter
    return lines[path]


def _line(error: ConfigError, word: str) -> str:
    if not (error.path.startswith("$.") and error.file.endswith(".toml")):
        return ""
    try:
        line = line_of(Path(error.file).read_text("utf-8-sig"), error.path)
    except (OSError, UnicodeDecodeError):
        return ""
    return word.format(line) if line else ""


def _lines(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    counts: dict[str, int] = {}  # array of tables → the last one's place
    table, quoted = "$", False
    for number, line in enumerate(text.splitlines(), 1):
        header, key = _HEADER.match(line), _KEY.match(line)
        if quoted:
            pass
        elif header:
            table = "$"
            *parents, last = header["name"].split(".")
            for part in parents:
                table += f".{part}" + (
                    f"[{counts[f'{table}.{part}']}]" if f"{table}.{part}" in counts else ""
                )
            table += f".{last}"
            if header["open"] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table += f"[{counts[table]}]"
            found[table] = number
        elif key:
            found.setdefault(f"{table}.{key['name']}", number)
        quoted ^= len(_QUOTES.findall(line)) % 2 == 1
    return found
