"""Plug-ins by file name: the configuration says ``modbus_rtu``, the file is ``modbus_rtu.py``."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from telemetry.errors import Refused, did_you_mean

if TYPE_CHECKING:
    from types import ModuleType


def names(package: str) -> tuple[str, ...]:
    """Return the plug-ins of a package, sorted; names that begin with ``_`` are not plug-ins.

    >>> names("telemetry.codecs")
    ('json', 'msgpack')
    """
    paths = importlib.import_module(package).__path__
    return tuple(sorted(m.name for m in pkgutil.iter_modules(paths) if not m.name.startswith("_")))


def load(package: str, name: str) -> ModuleType:
    """Import one plug-in; raise :class:`Refused` with the nearest name when there is none.

    >>> load("telemetry.codecs", "jsn")
    Traceback (most recent call last):
    ...
    telemetry.errors.Refused: telemetry.codecs: no 'jsn'; did you mean 'json'?
    """
    known = names(package)
    if name not in known:
        msg = f"{package}: no '{name}'; {did_you_mean(name, known)}"
        raise Refused(msg)
    return importlib.import_module(f"{package}.{name}")
