"""Registry files as rows: CSV in UTF-8 or GB18030, and Excel workbooks.

A file is a table of ``sites`` or of ``devices``; its headings say which.  A workbook may hold one on each sheet.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from cloud_ingest.registry.mistakes import Mistake, Words, nearest
from telemetry.cells import plain
from telemetry.errors import ConfigError
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

Kind = Literal["sites", "devices"]
NEEDED: Mapping[Kind, tuple[str, ...]] = {
    "sites": ("site", "name_zh", "name_en", "street", "lon", "lat", "department"),
    "devices": ("device", "name_zh", "name_en", "profile", "agent", "site", "lon", "lat", "owner"),
}
OPTIONAL: Mapping[Kind, tuple[str, ...]] = {
    "sites": ("district", "datum"),
    "devices": ("serial_number", "installed_on", "installed_by", "bus", "unit", "retired_on", "datum"),
}
_CHINESE = {
    "设备编号": "device", "站点编号": "site", "中文名称": "name_zh", "英文名称": "name_en", "型号": "profile",
    "边缘代理": "agent", "所属站点": "site", "经度": "lon", "纬度": "lat", "责任单位": "owner", "序列号": "serial_number",
    "安装日期": "installed_on", "安装人": "installed_by", "总线": "bus", "总线地址": "unit", "停用日期": "retired_on",
    "坐标系": "datum", "街道": "street", "主管部门": "department", "区": "district",
}  # fmt: skip
_BLANK = " \t\r\n\u3000\u00a0\ufeff"


@dataclass
class Sheet:
    """The rows of one table, each with its line; cells are stripped texts, absent columns ``""``."""

    kind: Kind
    file: str
    rows: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[Text] = field(default_factory=list)


def read_sheets(path: Path, data: bytes | None = None, kind: Kind | None = None) -> list[Sheet]:
    """Read a file, or ``data`` that came under its name; raise :class:`ConfigError` when it is no table at all."""
    if data is None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(path, "$", f"cannot be read: {error.strerror}") from None
    if data[:4] == b"PK\x03\x04":
        return list(_workbook(path, data, kind))
    text, notes = _text(path, data)
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ConfigError(path, f"line {reader.line_num}", f"is no CSV: {error}") from None
    sheet = _sheet(str(path), lines, kind)
    sheet.notes += notes
    return [sheet]


def _text(path: Path, data: bytes) -> tuple[str, list[Text]]:
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        at = error.start
    try:
        if data[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            text = data.decode("gb18030")
            return text, [Text(f"{path} 按 GB18030 读取", f"{path} was read as GB18030")]
    except UnicodeDecodeError:
        pass
    line = data[:at].count(b"\n") + 1
    raise ConfigError(
        path, f"line {line}", f"byte {data[at]:#04x} is neither UTF-8 nor GB18030", hint="save it as CSV in UTF-8"
    )  # fmt: skip


def _workbook(path: Path, data: bytes, kind: Kind | None) -> Iterator[Sheet]:
    import openpyxl  # noqa: PLC0415 - slow to load, and most files are CSV

    try:
        book = openpyxl.load_workbook(io.BytesIO(data), data_only=True, read_only=True)
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise ConfigError(
            path, "$", f"is no Excel workbook: {error}", hint="save it as .xlsx or CSV"
        ) from None
    found = False
    for page in book.worksheets:
        lines = [
            (number, [_cell(value) for value in row])
            for number, row in enumerate(page.iter_rows(values_only=True), 1)
        ]
        while lines and not any(lines[-1][1]):
            lines.pop()
        if lines:
            found = True
            yield _sheet(f"{path}[{page.title}]", lines, kind)
    book.close()
    if not found:
        raise ConfigError(path, "$", "every sheet is empty", hint="the headings stand in line 1")


def _cell(value: object) -> str:
    """Return a cell as a person would have typed it.

    >>> _cell(3.0), _cell(115.92), _cell(dt.datetime(2026, 5, 31)), _cell(None)
    ('3', '115.92', '2026-05-31', '')
    """
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dt.datetime):
        return value.date().isoformat() if value.time() == dt.time() else value.isoformat()
    return str(value)


def _sheet(file: str, lines: list[tuple[int, list[str]]], kind: Kind | None) -> Sheet:
    head = [_heading(name) for name in lines[0][1]] if lines else []
    while head and not head[-1]:
        head.pop()
    kind = kind or _kind(file, head)
    sheet = Sheet(kind, file)
    sheet.mistakes += _wrong_headings(file, kind, head)
    if sheet.mistakes:  # what stands below a wrong heading is not known
        return sheet
    for number, row in lines[1:]:
        cells = [plain(cell.strip(_BLANK)) for cell in row]
        if not any(cells):
            continue
        while len(cells) > len(head) and not cells[-1]:
            cells.pop()
        if len(row) < len(head) or len(cells) > len(head):
            sheet.mistakes.append(Mistake(file, number, "", ",".join(row), Words.FIELDS, Words.QUOTES))
            continue
        sheet.rows.append((number, dict(zip(head, cells, strict=False))))
    if not sheet.rows and not sheet.mistakes:
        sheet.mistakes.append(Mistake(file, 1, "", "", Words.NO_ROWS))
    return sheet


def _heading(name: str) -> str:
    name = name.strip(_BLANK)
    return _CHINESE.get(name, name)


def _kind(file: str, head: list[str]) -> Kind:
    for kind in ("devices", "sites"):
        if NEEDED[kind][0] in head:
            return kind
    near = max(NEEDED, key=lambda kind: len(set(NEEDED[kind]) & set(head)))
    if len(set(NEEDED[near]) & set(head)) > 2:
        return near
    told = ",".join(head)[:80]
    raise ConfigError(
        file, "line 1", f"'{told}' names neither sites nor devices",
        hint=f"separate by commas; the columns are {', '.join(NEEDED['devices'])} or {', '.join(NEEDED['sites'])}",
    )  # fmt: skip


def _wrong_headings(file: str, kind: Kind, head: list[str]) -> Iterable[Mistake]:
    known = (*NEEDED[kind], *OPTIONAL[kind])
    listed = Text(f"必需的列：{'、'.join(NEEDED[kind])}", f"the columns are {', '.join(NEEDED[kind])}")
    for column in NEEDED[kind]:
        if column not in head:
            yield Mistake(file, 1, "", "", Text(f"缺少列 {column}", f"no column '{column}'"), listed)
    for place, column in enumerate(head):
        if column not in known:
            yield Mistake(
                file, 1, column, column, Text("不是已知的列", "is no column"), nearest(column, known)
            )
        elif column in head[:place]:
            yield Mistake(file, 1, column, column, Words.TWICE, Words.ONE_SHEET)
