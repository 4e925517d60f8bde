"""Texts in CSV: a cell that a spreadsheet would take for a formula is marked as a text.

``=``, ``+``, ``-``, ``@``, a tab and a line's end at the beginning of a cell make spreadsheets compute or split it (OWASP, CSV
Injection; ASVS 5.0, 1.2.10).  An apostrophe before it makes it a text; :func:`plain` takes that away again.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Cell = str | float | None

_BEGIN = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def guarded(cell: Cell) -> Cell:
    """Return a cell that is no formula; numbers stay numbers, None is an empty cell.

    >>> [guarded(cell) for cell in ("=1+1", "-5", -5, "甲-1", None, "'=x")]
    ["'=1+1", "'-5", -5, '甲-1', '', "''=x"]
    """
    if cell is None:
        return ""
    if isinstance(cell, str):
        text = cell.replace("\0", "")
        return f"'{text}" if text.lstrip("'").startswith(_BEGIN) else text
    return cell


def plain(text: str) -> str:
    """Return a text as it was before :func:`guarded`.

    >>> plain("'=1+1"), plain("'tis"), plain("''=x")
    ('=1+1', "'tis", "'=x")
    """
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(_BEGIN) else text


def as_csv(heading: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """Return CSV in UTF-8 with the mark by which Excel knows it."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(heading)
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8-sig")
