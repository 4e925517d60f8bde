"""Durable puts a second with group commit, beside one commit a put."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figure import Figure, measure
from telemetry.keeper import Keeper
from telemetry.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOAD = bytes(1500)  # a usual upload


def run() -> Iterator[Figure]:
    """Measure on the disk of the temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        alone = measure("outbox_one_commit_each", "puts/s", lambda: _each(Path(folder) / "each.db", 200))
        yield alone
        for callers in (1, 8, 64):

            def grouped(callers: int = callers) -> float:
                return asyncio.run(_grouped(Path(folder) / f"{callers}.db", callers, 300 * callers))

            yield measure(f"outbox_group_commit_{callers}", "puts/s", grouped, peer=alone.value)


def _each(path: Path, count: int) -> float:
    box = Outbox.open(path, max_bytes=1 << 30)
    for _ in range(count):
        with box.transaction():
            box.put(lambda _: PAYLOAD, samples=30)
    box.close()
    return count


async def _grouped(path: Path, callers: int, count: int) -> float:
    async with Keeper(Outbox.open(path, max_bytes=1 << 30)) as keeper:

        async def call() -> None:
            for _ in range(count // callers):
                await keeper.put(lambda _: PAYLOAD, samples=30)

        await asyncio.gather(*(call() for _ in range(callers)))
    return count
