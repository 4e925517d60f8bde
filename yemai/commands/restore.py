"""``yemai restore``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yemai.words import say

app = typer.Typer(
    help=say("从备份恢复；相关进程须先停止。", "Bring a backup back; stop what uses it first."),
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def restore(
    backup: Annotated[Path, typer.Option("--from", help=say("备份目录", "the backup's folder"))],
    only: Annotated[
        list[str] | None, typer.Option(help=say("只恢复其一；可多次", "only this source; may be repeated"))
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help=say("只核对备份是否完好", "only prove that the backup is whole"))
    ] = False,
) -> None:
    """Bring a backup back."""
    from yemai.backup import restoring  # noqa: PLC0415 - only what the word needs

    manifest = restoring.read(backup)
    if check:
        typer.echo(say(f"完好：{len(manifest.items)} 项", f"whole: {len(manifest.items)} items"))
        return
    for item, seconds in restoring.restore(backup, manifest, tuple(only or ())):
        typer.echo(f"  {item.kind:8} {item.source}  {seconds} s")
    typer.echo(
        say("已恢复；原有内容保存为 *.before-restore", "restored; what was there is kept as *.before-restore")
    )
