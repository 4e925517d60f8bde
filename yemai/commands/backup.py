"""``yemai backup``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from yemai.words import say

app = typer.Typer(
    help=say(
        "在线备份：台账、登记库、告警台、缓存、规则与数据库。", "Back up, on line, what must not be lost."
    ),
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def backup(
    config: Annotated[Path, typer.Option("--config", help="backup.toml")] = Path("/etc/yemai/backup.toml"),
) -> None:
    """Back up, on line, what must not be lost."""
    from yemai.backup.plan import load_plan  # noqa: PLC0415 - only what the word needs
    from yemai.backup.taking import take  # noqa: PLC0415 - see above

    plan = load_plan(config)
    done = take(
        plan, lambda item: typer.echo(f"  {item.kind:8} {item.source}  {item.bytes} B  {item.seconds} s")
    )
    typer.echo(say(f"备份完成：{done}", f"backed up to {done}"))
