"""Export: the registry as the files that an import takes, so that one leads to the other."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from cloud_ingest.registry.sheets import NEEDED, OPTIONAL
from telemetry import cells

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud_ingest.registry.model import Contents, Device, Site
    from cloud_ingest.registry.sheets import Kind

    Cell = str | float


def heading(kind: Kind) -> tuple[str, ...]:
    """Return the headings of a table."""
    return (*NEEDED[kind], *OPTIONAL[kind])


def rows(contents: Contents, kind: Kind) -> Iterator[list[Cell]]:
    """Return the rows of a table, in the order of its headings."""
    if kind == "sites":
        for site in contents.sites.values():
            yield _cells(site, kind)
    else:
        for device in contents.devices.values():
            yield _cells(device, kind)


def as_csv(contents: Contents, kind: Kind) -> bytes:
    """Return CSV in UTF-8, with the mark by which Excel knows it."""
    return cells.as_csv(heading(kind), rows(contents, kind))


def as_workbook(contents: Contents) -> bytes:
    """Return an Excel workbook with a sheet of sites and one of devices; every text stays a text."""
    import openpyxl  # noqa: PLC0415 - slow to load, and most files are CSV
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415

    book = openpyxl.Workbook(write_only=True)
    for kind in ("sites", "devices"):
        page = book.create_sheet(kind)
        page.append(heading(kind))
        for row in rows(contents, kind):
            cells = [WriteOnlyCell(page, value) for value in row]
            for cell in cells:
                if isinstance(cell.value, str):
                    cell.data_type = "s"  # a name that begins with '=' is no formula
            page.append(cells)
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def _cells(item: Site | Device, kind: Kind) -> list[Cell]:
    named = {
        "site" if kind == "sites" else "device": item.id,
        "name_zh": item.name.zh, "name_en": item.name.en, "datum": "wgs84",
    }  # fmt: skip
    return [named[column] if column in named else _blank(getattr(item, column)) for column in heading(kind)]


def _blank(value: Cell | None) -> Cell:
    return "" if value is None else value
