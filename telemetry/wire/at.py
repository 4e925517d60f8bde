"""AT commands (3GPP TS 27.007, ITU-T V.250): lines in, answers and unsolicited result codes out.

::

    AT+CSQ<CR>            ▶
                          ◀  <CR><LF>+CSQ: 20,99<CR><LF>    information, as the command says it looks
                          ◀  <CR><LF>+CEREG: 2<CR><LF>      unsolicited: it may come anywhere between lines
                          ◀  <CR><LF>OK<CR><LF>             the end: OK, ERROR, +CME ERROR: n

Modems send unsolicited codes where no manual says they may, so a line belongs to the command under way only if it
looks as the command says; echoes are dropped; everything else is unsolicited.
"""

from __future__ import annotations

import re

import msgspec

_LONGEST_LINE = 8192  # 1358 bytes in hex, and room
_FAILED = re.compile(r"(?:ERROR|FAIL|SEND FAIL|\+CM[ES] ERROR: ?.*)")
_DONE = ("OK", "SEND OK")


class Command(msgspec.Struct, frozen=True):
    """What is asked; ``info`` and ``later`` are patterns that a whole line must fit.

    ``data`` is sent after the modem's ``>``.  ``later`` is a result that comes unsolicited, before or after OK, and
    without which the command is not done.
    """

    text: str
    info: str = ""
    later: str = ""
    data: bytes = b""
    timeout_s: float = 5.0


class Done(msgspec.Struct, frozen=True):
    """The command under way is over; ``lines`` are its information and its later result."""

    lines: tuple[str, ...]
    error: str = ""


class Unsolicited(msgspec.Struct, frozen=True):
    """The modem speaks of itself."""

    line: str


class Wants(msgspec.Struct, frozen=True):
    """The modem wants these bytes now."""

    data: bytes


Event = Done | Unsolicited | Wants


class Dialog:
    """One side of a serial line to a modem."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._command: Command | None = None
        self._lines: list[str] = []
        self._ok = self._later = False

    def ask(self, command: Command) -> bytes:
        """Begin a command and return what to send; whatever was under way is forgotten."""
        self._command, self._lines = command, []
        self._ok, self._later = False, not command.later
        return command.text.encode("ascii") + b"\r"

    def give_up(self) -> None:
        """Forget the command under way: its late answer will be unsolicited."""
        self._command = None

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes; return what they tell."""
        self._buffer += data
        events: list[Event] = []
        while (line := self._take()) is not None:
            if line == ">":
                if self._command is not None and self._command.data:
                    events.append(Wants(self._command.data))
                continue
            if line and (event := self._line(line)) is not None:
                events.append(event)
        return events

    def _take(self) -> str | None:
        """Return the next line, or ``>`` for the prompt, which has no end."""
        buffer = self._buffer
        while bytes(buffer[:1]) in (b"\r", b"\n"):
            del buffer[:1]
        if buffer.startswith(b">"):
            del buffer[: 2 if buffer[1:2] == b" " else 1]
            return ">"
        ends = [at for at in (buffer.find(b"\r"), buffer.find(b"\n")) if at >= 0]
        if not ends:
            if len(buffer) > _LONGEST_LINE:  # noise on the line
                buffer.clear()
            return None
        line = bytes(buffer[: min(ends)])
        del buffer[: min(ends) + 1]
        return line.decode("latin-1").strip("\0 ")

    def _line(self, line: str) -> Event | None:
        command = self._command
        if command is None:
            return None if line in _DONE else Unsolicited(line)
        if line == command.text:  # its echo
            return None
        if line in _DONE:
            self._ok = True
            return self._done()
        if _FAILED.fullmatch(line):
            self._command = None
            return Done(tuple(self._lines), line)
        if command.later and not self._later and re.fullmatch(command.later, line):
            self._later = True
            self._lines.append(line)
            return self._done()
        if command.info and re.fullmatch(command.info, line):
            self._lines.append(line)
            return None
        return Unsolicited(line)

    def _done(self) -> Done | None:
        if not (self._ok and self._later):
            return None
        self._command = None
        return Done(tuple(self._lines))
