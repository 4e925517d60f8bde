"""Takes a backup: everything or nothing, under a name that says when."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from telemetry.errors import Unavailable
from yemai import __version__
from yemai.backup.copying import COPY
from yemai.backup.plan import Item, Kind, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yemai.backup.plan import Plan

MANIFEST = "manifest.json"
_ENDS: dict[Kind, str] = {"sqlite": ".db", "duckdb": ".duckdb", "postgres": ".dump", "files": ".tar.gz"}


def take(plan: Plan, told: Callable[[Item], None] = lambda _: None) -> Path:
    """Copy all that the plan names; return the backup's folder.  Raises :class:`Unavailable`, leaving none behind."""
    at = time.time_ns() // 1_000_000
    name = datetime.fromtimestamp(at / 1000, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    making, done = plan.into / f".{name}.partial", plan.into / name
    try:
        making.mkdir(parents=True, mode=0o700)
        items = []
        for place, (kind, source) in enumerate(_wanted(plan)):
            items.append(_copied(making, place, kind, source))
            told(items[-1])
        _durable(
            making / MANIFEST,
            msgspec.json.format(msgspec.json.encode(Manifest(at, __version__, tuple(items))), indent=1),
        )
        making.rename(done)
    except OSError as error:
        shutil.rmtree(making, ignore_errors=True)
        raise Unavailable(f"{plan.into}: cannot be written: {error.strerror}") from None
    except Unavailable:
        shutil.rmtree(making, ignore_errors=True)
        raise
    for old in backups(plan.into)[: -plan.keep]:
        shutil.rmtree(old)
    return done


def backups(into: Path) -> list[Path]:
    """Return the whole backups, the oldest first."""
    return sorted(path.parent for path in into.glob(f"[0-9]*/{MANIFEST}"))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _wanted(plan: Plan) -> list[tuple[Kind, str]]:
    wanted: list[tuple[Kind, str]] = [("sqlite", str(path)) for path in plan.sqlite]
    wanted += [("duckdb", str(path)) for path in plan.duckdb]
    wanted += [("postgres", database.url) for database in plan.postgres]
    wanted += [("files", str(path)) for path in plan.files]
    return wanted


def _copied(folder: Path, place: int, kind: Kind, source: str) -> Item:
    began = time.monotonic()
    copy = folder / f"{place:02}{_ENDS[kind]}"
    COPY[kind](source, copy)
    copy.chmod(0o600)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    return Item(
        kind, source, copy.name, copy.stat().st_size, digest(copy), round(time.monotonic() - began, 3)
    )


def _durable(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
