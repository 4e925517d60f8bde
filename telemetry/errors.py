"""The four errors that may cross a seam.

::

    YemaiError
    ├── ConfigError   a person must mend a file           (file, field path, hint)
    ├── Malformed     bytes that are not what they claim  (offset, excerpt)
    ├── Unavailable   not now: try again later
    └── Refused       never: do not try again

Foreign exceptions are mapped to one of these where a foreign library is called.  Anything else
ends the process, and the outbox makes that harmless.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class YemaiError(Exception):
    """The root of every error that Yemai raises on purpose."""


class ConfigError(YemaiError):
    """A file that a person wrote cannot be used as it stands.

    >>> str(ConfigError("edge.toml", "$.buses[0].driver", "no 'modbus'", hint="use 'modbus_rtu'"))
    "edge.toml: $.buses[0].driver: no 'modbus'; use 'modbus_rtu'"
    """

    def __init__(self, file: Path | str, path: str, problem: str, *, hint: str = "") -> None:
        self.file, self.path, self.problem, self.hint = str(file), path, problem, hint
        self.also: tuple[ConfigError, ...] = ()
        """What else is wrong, as far as it can be told at once; it has a line of its own each."""
        super().__init__(self.at())

    def at(self, line: str = "") -> str:
        """Return this one mistake in a line, ``line`` named between file and field."""
        parts = (self.file, line, self.path if self.path != "$" else "", self.problem)
        return ": ".join(part for part in parts if part) + (f"; {self.hint}" if self.hint else "")

    @classmethod
    def together(cls, errors: Sequence[ConfigError]) -> ConfigError:
        """Return the first of one or more errors, which tells of the others too.

        >>> print(ConfigError.together([ConfigError("a.toml", "$.x", "missing"), ConfigError("a.toml", "$.y", "no")]))
        a.toml: $.x: missing
        a.toml: $.y: no
        """
        flat = [one for error in errors for one in (error, *error.also)]
        first = cls(flat[0].file, flat[0].path, flat[0].problem, hint=flat[0].hint)
        first.also = tuple(flat[1:])
        first.args = ("\n".join(one.at() for one in flat),)
        return first


class Malformed(YemaiError):
    """Bytes break the format they claim to follow.

    ``offset`` is where reading stopped making sense, ``excerpt`` at most 16 bytes from there on.

    >>> str(Malformed("upload: truncated JSON", b'{"v":1,', offset=7))
    'upload: truncated JSON at byte 7 of 7'
    >>> str(Malformed("frame: checksum 0x1f, calculated 0x20", bytes([0x42, 0x4D, 0x1F]), offset=2))
    'frame: checksum 0x1f, calculated 0x20 at byte 2 of 3: 1f'
    """

    EXCERPT = 16

    def __init__(self, what: str, data: bytes = b"", *, offset: int = 0) -> None:
        self.what, self.offset = what, offset
        self.excerpt = bytes(data[offset : offset + self.EXCERPT])
        tail = f": {self.excerpt.hex(' ')}" if self.excerpt else ""
        super().__init__(f"{what} at byte {offset} of {len(data)}{tail}" if data else what)


class Unavailable(YemaiError):
    """The other side cannot be reached or is busy; the same request may succeed later."""


class Refused(YemaiError):
    """The other side understood and said no; repeating the request is pointless."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a hint that names the nearest choice, or all of them when none is near.

    >>> did_you_mean("sdm63", ["eastron_sdm630", "phoenix_charx"])
    "did you mean 'eastron_sdm630'?"
    >>> did_you_mean("x", ["json", "msgpack"])
    "use one of 'json', 'msgpack'"
    """
    known = sorted(choices)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    near = near or [name for name in known if len(word) > 2 and word in name][:1]
    if near:
        return f"did you mean '{near[0]}'?"
    shown = ", ".join(f"'{name}'" for name in known[:12])
    more = f" and {len(known) - 12} more" if len(known) > 12 else ""
    return f"use one of {shown}{more}" if known else "there is none to choose from"
