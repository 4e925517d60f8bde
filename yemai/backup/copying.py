"""How each kind of thing is copied while it is in use, and how a copy is proven.

=========  ===========================================================================================
sqlite     SQLite's backup API in one step: one read transaction, which holds no writer up in WAL mode;
           ``PRAGMA integrity_check`` on the copy
duckdb     file and write-ahead log, copied while no checkpoint moves the file beneath us; the copy is opened and counted
postgres   ``pg_dump`` in custom format, one snapshot; its table of contents is read back
files      a tar of files and folders, read back
=========  ===========================================================================================
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import tarfile
from contextlib import closing
from typing import TYPE_CHECKING

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from yemai.backup.plan import Kind

_TRIES = 20
_DUMP_S = 3600


def sqlite(source: str, copy: Path) -> None:
    """Copy a database, and prove the copy."""
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as live,
            closing(sqlite3.connect(copy)) as made,
        ):
            live.backup(made)
            made.execute("PRAGMA journal_mode=DELETE")  # one file, no log beside it
            (told,) = made.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        raise Unavailable(f"{source}: cannot be backed up: {error}") from None
    if told != "ok":
        raise Unavailable(
            f"{source}: the copy is not whole: {told}; see what `yemai doctor` says of the original"
        )


def duckdb(source: str, copy: Path) -> None:
    """Copy a store between two of its checkpoints, and prove the copy by opening it."""
    import duckdb as engine  # noqa: PLC0415 - only where there is such a store

    log = copy.with_name(copy.name + ".wal")
    try:
        for _ in range(_TRIES):
            before = os.stat(source)  # noqa: PTH116 - source is what the plan says
            shutil.copyfile(source, copy)
            log.unlink(missing_ok=True)
            if os.path.exists(source + ".wal"):  # noqa: PTH110
                shutil.copyfile(source + ".wal", log)
            after = os.stat(source)  # noqa: PTH116
            if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size):
                break
        else:
            raise Unavailable(
                f"{source}: it never stood still between two checkpoints; try again at a quieter time"
            )
        with closing(engine.connect(str(copy))) as made:  # takes the log in
            for (table,) in made.execute("SELECT table_name FROM information_schema.tables").fetchall():
                made.execute(f'SELECT count(*) FROM "{table}"').fetchone()  # noqa: S608 - its own name
            made.execute("CHECKPOINT")
    except OSError as error:
        raise Unavailable(f"{source}: cannot be backed up: {error.strerror}") from None
    except engine.Error as error:
        raise Unavailable(f"{source}: the copy does not open: {error}") from None


def postgres(source: str, copy: Path) -> None:
    """Dump a database, and prove that the dump can be read."""
    run(["pg_dump", "--format=custom", "--no-owner", f"--file={copy}", source], source)
    run(["pg_restore", "--list", str(copy)], source)


def files(source: str, copy: Path) -> None:
    """Pack a file or folder, and read it back."""
    try:
        with tarfile.open(copy, "w:gz") as pack:
            pack.add(source, arcname=".")
        with tarfile.open(copy) as pack:
            pack.getmembers()
    except (OSError, tarfile.TarError) as error:
        raise Unavailable(f"{source}: cannot be backed up: {error}") from None


COPY: dict[Kind, Callable[[str, Path], None]] = {
    "sqlite": sqlite, "duckdb": duckdb, "postgres": postgres, "files": files,
}  # fmt: skip


def run(words: list[str], what: str) -> None:
    """Run one of PostgreSQL's programs; raise :class:`Unavailable` with what it says."""
    if shutil.which(words[0]) is None:
        raise Unavailable(f"{what}: {words[0]} is not installed (apt install postgresql-client)")
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_DUMP_S, check=False)  # noqa: S603 - words of ours, a URL of the operator's
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{what}: {words[0]} did not end within {_DUMP_S} s") from None
    if done.returncode:
        raise Unavailable(f"{what}: {words[0]}: {done.stderr.strip()[:300]}")
