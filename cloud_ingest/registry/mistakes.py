"""What a person who wrote a registry file must mend, in both languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from telemetry.errors import ConfigError, did_you_mean
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Mistake(msgspec.Struct, frozen=True):
    """One mistake: where it stands, what stands there, what is wrong with it, and the way out.

    ``line`` counts from 1 as an editor or a spreadsheet does; ``column`` is a heading, ``""`` for a whole line.
    """

    file: str
    line: int
    column: str
    value: str
    problem: Text
    hint: Text = Text("", "")

    def error(self) -> ConfigError:
        """Return it as the error that ends what needs the file."""
        where = f"line {self.line}" + (f", column {self.column}" if self.column else "")
        quoted = f"'{self.value}' " if self.column else ""
        return ConfigError(self.file, where, quoted + self.problem.en, hint=self.hint.en)


def first_of(mistakes: Sequence[Mistake]) -> ConfigError:
    """Return the first mistake as an error that also tells how many there are."""
    error = mistakes[0].error()
    more = len(mistakes) - 1
    if not more:
        return error
    return ConfigError(
        error.file, error.path, error.problem,
        hint=f"{error.hint + '; ' if error.hint else ''}{more} more, told by: yemai ingest registry import --dry-run",
    )  # fmt: skip


def nearest(word: str, choices: Iterable[str]) -> Text:
    """Return a hint that names the nearest choice, or the choices.

    >>> nearest("gcj2", ["wgs84", "gcj02", "bd09"]).zh
    '是否指 gcj02？'
    """
    known = sorted(choices)
    told = did_you_mean(word, known)
    if told.startswith("did you mean"):
        return Text(f"是否指 {told[14:-2]}？", told)
    shown = "、".join(known[:12])
    return Text(f"可用：{shown}{' 等' if len(known) > 12 else ''}" if known else "目前一个也没有", told)


class Words:
    """The sentences of :mod:`cloud_ingest.registry.sheets` and :mod:`cloud_ingest.registry.checks`."""

    EMPTY = Text("不能为空", "is empty")
    NO_NUMBER = Text("不是数字", "is no number")
    DEGREES = Text("请填十进制度，如 115.9252", "WGS-84 degrees, like 115.9252")
    DECIMALS = Text(
        "请把度分秒换算为十进制度，如 115.9252",
        "give decimal degrees, like 115.9252, not minutes and seconds",
    )
    POINT = Text("小数点请用“.”", "the decimal point is a '.'")
    EXCHANGED = Text("经度和纬度是否填反了？", "are lon and lat exchanged?")
    NOT_HERE = Text("请核对经纬度和坐标系 (datum)", "check lon, lat and datum")
    NOWHERE = Text("经纬度都是 0，不是一个地点", "lon and lat are both 0, which is no place here")
    NO_DATUM = Text("不是坐标系", "is no datum")
    NO_DATE = Text("不是日期", "is no date")
    A_DATE = Text("请写成 2026-05-31", "write it like 2026-05-31")
    TOO_EARLY = Text("早于安装日期", "is before the day of installation")
    ONE_LATER = Text("请核对 installed_on 和 retired_on", "check installed_on and retired_on")
    TWICE = Text("重复", "is given twice")
    GIVE_ID = Text("请填写编号", "give it an id")
    GIVE_NAME = Text("请填写名称，中英文各一", "give it a name in Chinese and one in English")
    GIVE_STREET = Text("请填写所在街道", "name the street that it lies in")
    GIVE_DEPARTMENT = Text("请填写责任单位", "name the department that answers for it")
    NO_ID = Text("不能作编号", "cannot be an id")
    ID_CHARACTERS = Text(
        "只用字母、数字、“-”“_”“.”，字母或数字开头，最多 64 个字符",
        "use letters, digits, '-', '_' and '.', at most 64, and begin with a letter or digit",
    )  # fmt: skip
    NO_SITE = Text("不是已有的站点", "is no site")
    NO_PROFILE = Text("不是已有的设备型号", "is no profile")
    NO_UNIT = Text("不是总线地址", "is no bus address")
    A_UNIT = Text("请填 0 到 255 的整数，没有就留空", "a whole number from 0 to 255, or nothing")
    TOO_LONG = Text("太长", "is too long")
    SHORTER = Text("最多 200 个字符", "at most 200 characters")
    CONTROL = Text("含有不可见的控制字符", "holds a control character")
    RETYPE = Text("请重新输入这一格", "type this cell anew")
    FIELDS = Text("列数与第 1 行不同", "has not as many fields as line 1")
    QUOTES = Text("含逗号的内容要加英文双引号", "put what holds a comma in double quotes")
    NO_ROWS = Text("没有数据行", "has no rows")
    DENIED = Text("是已被拒绝的边缘代理", "is an agent that was denied")
    ALLOW_FIRST = Text("请先批准它，或换一个代理", "approve it first, or name another agent")
    ONE_SHEET = Text("一个表只能有一列叫这个名字", "a heading stands once")

    @staticmethod
    def unique(line: int) -> Text:
        """Return the hint for an id that stands on an earlier line."""
        return Text(f"编号必须唯一，第 {line} 行已有", f"ids are unique, and line {line} has it")

    @staticmethod
    def held(holder: str) -> tuple[Text, Text]:
        """Return problem and hint for what only one device may have."""
        return (
            Text(f"已被设备 {holder} 占用", f"is what '{holder}' has"),
            Text(f"请核对两台设备，或先停用 {holder}", f"check both, or retire '{holder}' first"),
        )
