"""Ports for servers that tests start, kill and start again.

Below those that the system gives to outgoing connections, which would take a killed server's place; each worker of a
run from a part of its own, and none again before all the others.
"""

import contextlib
import itertools
import os
import random
import socket

_FIRST, _END = 12_000, 32_000


def _own_part():
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = (_END - _FIRST) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return range(_FIRST + worker * size, _FIRST + (worker + 1) * size)


def _in_turn(part):
    start = random.randrange(len(part))  # another run may be under way on this machine
    return itertools.cycle([*part[start:], *part[:start]])


_ports = _in_turn(_own_part())


def free_port():
    """Return a port of 127.0.0.1 on which nobody listens, by TCP or UDP."""
    for port in _ports:
        with (
            contextlib.suppress(OSError),
            socket.socket() as tcp,
            socket.socket(type=socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port
    raise AssertionError("an endless cycle has ended")
