"""Keeps a blocking library's thread out of our own network, whatever it connects with.

A check before the call could be undone by the name's next answer; this one is Python's own audit event of the very
address that is connected to (https://docs.python.org/3/library/audit_events.html), so it holds for every library that
connects by Python's sockets.  It also lets such a thread start no program.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from command_center.egress import is_public

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONNECTING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_STARTING = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"})


class _Here(threading.local):
    is_fenced = False
    is_private = False
    refused = ""


_here = _Here()
_hooking = threading.Lock()
_hooked: list[bool] = []


@contextmanager
def fence(*, private: bool) -> Iterator[_Here]:
    """Within the block this thread reaches public addresses only, or any with ``private``; ``refused`` says what it was denied."""
    with _hooking:
        if not _hooked:
            sys.addaudithook(_on_event)
            _hooked.append(True)
    _here.is_fenced, _here.is_private, _here.refused = True, private, ""
    try:
        yield _here
    finally:
        _here.is_fenced = False


def _on_event(event: str, args: tuple[Any, ...]) -> None:
    if not _here.is_fenced:
        return
    if event in _STARTING:
        _here.refused = "it would start a program"
    elif event in _CONNECTING and not (_here.is_private or _leads_out(args[1])):
        _here.refused = "the address is not a public one"
    else:
        return
    raise PermissionError(_here.refused)  # an OSError, which network libraries expect of a connection


def _leads_out(address: object) -> bool:
    """Return whether it is a public address of the Internet; a local socket's path is none."""
    if not isinstance(address, tuple) or not address or not isinstance(address[0], str):
        return False
    try:
        return is_public(address[0])
    except ValueError:
        return False
