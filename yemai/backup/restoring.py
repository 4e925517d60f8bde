"""Brings a backup back: proven first, refused while anybody uses what it would replace, and what was there is kept."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from telemetry.errors import ConfigError, Refused, Unavailable
from yemai.backup.copying import run
from yemai.backup.plan import MANIFEST_VERSION, Item, Manifest
from yemai.backup.taking import MANIFEST, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEQS = 1 << 32  # more than an outbox gives between a backup and its loss
_BESIDE = ("-wal", "-shm", ".wal")


def read(backup: Path) -> Manifest:
    """Return a backup's manifest, its files proven; raise :class:`ConfigError` for one that is not whole."""
    path = backup / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise ConfigError(
            path, "$", f"cannot be read: {error.strerror}", hint="name a folder that `yemai backup` made"
        ) from None
    except msgspec.DecodeError as error:
        raise ConfigError(path, "$", f"is no manifest: {error}") from None
    if manifest.v > MANIFEST_VERSION:
        raise ConfigError(
            path,
            "$.v",
            f"{manifest.v} was written by Yemai {manifest.yemai}, a newer one",
            hint="restore with that version",
        )
    for item in manifest.items:
        file = backup / item.file
        if Path(item.file).name != item.file or not file.is_file():
            raise ConfigError(path, f"{item.file}", f"the copy of {item.source} is missing")
        if digest(file) != item.sha256:
            raise ConfigError(
                path,
                f"{item.file}",
                f"the copy of {item.source} is not what was written; take an older backup",
            )
    return manifest


def restore(backup: Path, manifest: Manifest, only: tuple[str, ...] = ()) -> Iterator[tuple[Item, float]]:
    """Put things back where they came from; yield each with the seconds it took.

    Nothing is touched while any of them is in use.  What was there stays beside it as ``NAME.before-restore``.
    """
    wanted = [item for item in manifest.items if not only or item.source in only]
    if missing := set(only) - {item.source for item in manifest.items}:
        raise Refused(
            f"the backup holds no {', '.join(sorted(missing))}; it holds {', '.join(item.source for item in manifest.items)}"
        )
    for item in wanted:
        if item.kind in ("sqlite", "duckdb") and (users := _users(Path(item.source))):
            told = ", ".join(f"process {pid} ({name})" for pid, name in users)
            raise Refused(f"{item.source} is in use by {told}; stop it, then restore")
    for item in wanted:
        began = time.monotonic()
        try:
            _back(backup / item.file, item)
        except OSError as error:
            raise Unavailable(f"{item.source}: cannot be restored: {error}") from None
        yield item, round(time.monotonic() - began, 3)


def _back(copy: Path, item: Item) -> None:
    if item.kind == "postgres":
        run(
            [
                "pg_restore",
                "--clean",
                "--if-exists",
                "--no-owner",
                "--single-transaction",
                f"--dbname={item.source}",
                str(copy),
            ],
            item.source,
        )
        return
    target = Path(item.source)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.restoring")
    if item.kind == "files":
        _unpack(copy, fresh)
    else:
        shutil.copyfile(copy, fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        if item.kind == "sqlite":
            _past_all_seqs(fresh)
        fresh.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o600)
    _aside(target)
    fresh.rename(target)


def _past_all_seqs(path: Path) -> None:
    """Let an outbox in this database go on with numbers that it has not given yet.

    After the backup it went on giving seqs, and their consumer has committed some: the same seq once more, with
    something else in it, would be taken for a repetition and lost.  A gap in the numbers harms nobody.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'outbox'").fetchone():
            return
        row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        if row is None:
            db.execute("INSERT INTO sqlite_sequence VALUES ('outbox', ?)", (_SEQS,))
        else:
            db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'outbox'", (row[0] + _SEQS,))


def _unpack(pack: Path, into: Path) -> None:
    shutil.rmtree(into, ignore_errors=True)
    with tarfile.open(pack) as opened:
        members = opened.getmembers()
        if members[0].isfile():
            members[0].name = into.name
            opened.extract(members[0], into.parent, filter="data")
        else:
            opened.extractall(into, filter="data")


def _aside(target: Path) -> None:
    kept = target.with_name(f"{target.name}.before-restore")
    if kept.is_dir():
        shutil.rmtree(kept)
    for end in ("", *_BESIDE):
        there = target.with_name(target.name + end)
        if there.exists():
            there.rename(kept.with_name(kept.name + end))


def _users(path: Path) -> list[tuple[int, str]]:
    """Return the processes that have a file open, as far as we may see them (Linux)."""
    found, wanted = [], str(path.resolve())
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(fd.readlink()) == wanted for fd in (process / "fd").iterdir()):
                found.append((int(process.name), (process / "comm").read_text("utf-8").strip()))
    return found
