"""``yemai ingest registry``: what the data officer and the operator do with the registry's database."""

from __future__ import annotations

import getpass
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yemai.commands._part import ConfigFile, group
from yemai.words import pick, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud_ingest.config import IngestConfig
    from cloud_ingest.registry.importing import Report
    from cloud_ingest.registry.keeper import Keeper
    from cloud_ingest.registry.mistakes import Mistake

app = group("设备台账。", "The registry of sites and devices.")
_SHOWN = 200  # lines of a long list
Files = Annotated[list[Path], typer.Argument(help=say("CSV 或 Excel 文件", "CSV or Excel files"))]
Name = Annotated[str, typer.Argument(help=say("编号", "its id"))]


@app.command(
    "import",
    help=say(
        "导入站点和设备；有一处错误就什么也不导入。",
        "Import sites and devices; nothing while anything is wrong.",
    ),
)
def import_(
    files: Files,
    config: ConfigFile,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=say("只检查和比较", "check and compare only"))] = False,
    missing: Annotated[str, typer.Option(help=say("文件里没有的设备：keep 保留，retire 停用", "devices that are not in the files: keep, or retire"))] = "keep",
    datum: Annotated[str | None, typer.Option(help="wgs84, gcj02, bd09")] = None,
    yes: Annotated[bool, typer.Option("--yes", help=say("不再询问", "do not ask"))] = False,
) -> None:  # fmt: skip
    """Check, show what would change, ask, and import."""
    import msgspec  # noqa: PLC0415 - `yemai --help` should not load it

    from cloud_ingest.registry.datum import DATUMS  # noqa: PLC0415
    from cloud_ingest.registry.importing import Order, run_import  # noqa: PLC0415
    from cloud_ingest.registry.sheets import read_sheets  # noqa: PLC0415

    if missing not in ("keep", "retire"):
        raise typer.BadParameter(f"--missing {missing}: keep, retire")
    if datum is not None and datum not in DATUMS:
        raise typer.BadParameter(f"--datum {datum}: {', '.join(DATUMS)}")
    with _opened(config) as (loaded, keeper):
        sheets = [sheet for file in files for sheet in read_sheets(file)]
        order = Order(
            getpass.getuser(), _now_ms(), loaded.registry.bounds, DATUMS[datum or loaded.registry.datum],
            missing="retire" if missing == "retire" else "keep", dry_run=True,
        )  # fmt: skip
        report = run_import(keeper.database, sheets, order, keeper.profiles)
        _tell(report)
        if report.mistakes:
            raise typer.Exit(1)
        if dry_run or not report.changes:
            return
        if not yes and not (sys.stdin.isatty() and typer.confirm(say("导入？", "Import this?"))):
            typer.echo(say("没有导入；加 --yes 导入", "Not imported; --yes imports it"), err=True)
            raise typer.Exit(1)
        done = run_import(
            keeper.database, sheets, msgspec.structs.replace(order, dry_run=False), keeper.profiles
        )
        if done.mistakes:  # somebody else changed the registry in between
            _tell(done)
            raise typer.Exit(1)
        typer.echo(say("已导入", "Imported"))


@app.command(
    help=say("导出为导入所用的格式：.csv 或 .xlsx。", "Export as what an import takes: .csv or .xlsx.")
)
def export(
    file: Annotated[Path, typer.Argument(help="devices.csv, sites.csv, registry.xlsx")],
    config: ConfigFile,
    kind: Annotated[str | None, typer.Option(help=say("sites 或 devices；省略则看文件名", "sites or devices; by the file's name if omitted"))] = None,
) -> None:  # fmt: skip
    """Write the registry to a file."""
    from cloud_ingest.registry import exporting  # noqa: PLC0415 - see above

    kind = kind or ("sites" if "site" in file.stem else "devices")
    if kind not in ("sites", "devices"):
        raise typer.BadParameter(f"--kind {kind}: sites, devices")
    with _opened(config) as (_, keeper):
        contents = keeper.database.contents()
        if file.suffix == ".xlsx":
            data = exporting.as_workbook(contents)
        else:
            data = exporting.as_csv(contents, "sites" if kind == "sites" else "devices")
    try:
        file.write_bytes(data)
    except OSError as error:
        raise typer.BadParameter(
            say(f"不能写入 {file}：{error.strerror}", f"cannot write {file}: {error.strerror}")
        ) from None


@app.command(
    help=say("列出未登记却在说话的代理和设备。", "List agents and devices that speak and are not registered.")
)
def unannounced(config: ConfigFile) -> None:
    """List them, newest first."""
    from cloud_ingest.registry import approval  # noqa: PLC0415 - see above

    with _opened(config) as (_, keeper):
        found = approval.unannounced(keeper.database)
    for item in found[:_SHOWN]:
        state = say("待定", "pending") if item.state == "pending" else say("已拒绝", "denied")
        typer.echo(
            f"{state:8} {item.kind:7} {item.id:24} {item.agent:24} {_when(item.first_ms)} … {_when(item.last_ms)}  ×{item.times}"
        )
    if not found:
        typer.echo(say("没有", "none"))


@app.command(
    help=say(
        "批准一个代理；设备用 registry import 或数据接口登记。",
        "Approve an agent; devices are approved by an import or through the data API.",
    )
)
def approve(agent: Name, config: ConfigFile, note: str = "") -> None:
    """Let an agent speak."""
    _decide("agent", agent, config, allowed=True, note=note)


@app.command(help=say("拒绝一个代理或设备。", "Deny an agent, or a device that is not registered."))
def deny(
    name: Name,
    config: ConfigFile,
    device: Annotated[bool, typer.Option("--device", help=say("是设备", "it is a device"))] = False,
    note: str = "",
) -> None:
    """Say no to something that speaks unannounced."""
    _decide("device" if device else "agent", name, config, allowed=False, note=note)


@app.command(help=say("停用一台设备；它的历史保留。", "Take a device out of service; its history stays."))
def retire(device: Name, config: ConfigFile) -> None:
    """Take a device out of service."""
    from cloud_ingest.registry import approval  # noqa: PLC0415 - see above

    with _opened(config) as (_, keeper):
        approval.decommission(keeper.database, device, by=getpass.getuser(), now_ms=_now_ms())
    typer.echo(say(f"{device} 已停用", f"{device} is out of service"))


@app.command(help=say("谁改了什么，最新的在前。", "Who changed what, newest first."))
def changes(config: ConfigFile, limit: Annotated[int, typer.Option(min=1)] = 50) -> None:
    """Print the change log."""
    with _opened(config) as (_, keeper):
        for entry in keeper.database.history(limit):
            typer.echo(f"{_when(entry['at_ms'])}  {entry['by']:16} {entry['what']}")


def _decide(kind: Any, name: str, config: Path, *, allowed: bool, note: str) -> None:
    from cloud_ingest.registry import approval  # noqa: PLC0415 - see above

    with _opened(config) as (_, keeper):
        approval.decide(
            keeper.database, kind, name, allowed=allowed, by=getpass.getuser(), now_ms=_now_ms(), note=note
        )
    verdict = say("已批准", "approved") if allowed else say("已拒绝", "denied")
    typer.echo(f"{name} {verdict}")


def _tell(report: Report) -> None:
    for note in report.notes:
        typer.echo(pick(note))
    for mistake in report.mistakes:
        typer.echo(_sentence(mistake), err=True)
    if report.mistakes:
        count = len(report.mistakes)
        typer.echo(
            say(f"{count} 处错误，什么也没有导入", f"{count} mistakes; nothing was imported"), err=True
        )
        return
    for change in report.changes[:_SHOWN]:
        fields = "  ".join(f"{key}: {before} → {after}" for key, (before, after) in change.fields.items())
        typer.echo(f"{change.change:8} {change.kind:7} {change.id:24} {fields}".rstrip())
    if len(report.changes) > _SHOWN:
        typer.echo(
            say(f"…… 还有 {len(report.changes) - _SHOWN} 项", f"… and {len(report.changes) - _SHOWN} more")
        )
    counts = {
        kind: sum(1 for c in report.changes if c.change == kind)
        for kind in ("new", "changed", "retired", "removed")
    }
    words = {
        "new": say("新增", "new"),
        "changed": say("更改", "changed"),
        "retired": say("停用", "retired"),
        "removed": say("删除", "removed"),
    }
    told = [f"{count} {words[kind]}" for kind, count in counts.items() if count]
    told.append(f"{report.unchanged} {say('不变', 'unchanged')}")
    if report.missing:
        told.append(
            say(
                f"{len(report.missing)} 不在文件中（保留；--missing retire 停用）",
                f"{len(report.missing)} not in the files (kept; --missing retire takes them out of service)",
            )
        )
    typer.echo(", ".join(told))


def _sentence(mistake: Mistake) -> str:
    """Return a mistake as a line that an editor can follow: file, line, column, value, problem, way out."""
    where = f"{mistake.file}:{mistake.line}"
    column = f"{mistake.column} " if mistake.column else ""
    value = f"'{mistake.value}' " if mistake.column or mistake.value else ""
    hint = pick(mistake.hint)
    return f"{where}: {column}{value}{pick(mistake.problem)}" + (say("；", "; ") + hint if hint else "")


@contextmanager
def _opened(config: Path) -> Iterator[tuple[IngestConfig, Keeper]]:
    from cloud_ingest.config import load_config  # noqa: PLC0415 - see above
    from cloud_ingest.registry.keeper import Keeper  # noqa: PLC0415
    from telemetry.clock import SystemClock  # noqa: PLC0415

    loaded = load_config(config)
    keeper = Keeper(loaded.registry, loaded.producer, SystemClock())
    keeper.database.open()
    try:
        yield loaded, keeper
    finally:
        keeper.close()


def _now_ms() -> int:
    return int(time.time() * 1000)


def _when(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
