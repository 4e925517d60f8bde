"""Isolation: a message that breaks this program costs itself, and not those that came with it, nor ingest.

What fails together is tried in halves, and what fails alone is set aside.  A broker delivers what is not acknowledged again
and again: without that, one such message would end ingest at every start.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, TypeVar

from telemetry.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Done = TypeVar("Done")


def isolated(
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Done],
    set_aside: Callable[[Item, Exception], Done],
) -> list[Done]:
    """Return what ``work`` returned for all items, or for the parts that it could be done for, in their order.

    Raises what no item can be blamed for, with the parts before it done: the disk, the memory, what is away.
    """
    try:
        return [work(items)]
    except Exception as error:
        if not items or is_the_machines(error):
            raise
        if len(items) == 1:
            return [set_aside(items[0], error)]
    middle = len(items) // 2
    return [*isolated(items[:middle], work, set_aside), *isolated(items[middle:], work, set_aside)]


def is_the_machines(error: Exception) -> bool:
    """Return whether something is wrong with what ingest runs on, which passes by itself or by mending it."""
    return isinstance(error, Unavailable | OSError | MemoryError) or type(error) is sqlite3.DatabaseError
