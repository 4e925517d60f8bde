"""``yemai doctor``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from yemai.words import pick, say

app = typer.Typer(
    help=say(
        "检查安装：说明何处不安全、如何修复。", "Examine an installation: what is unsafe, and how to mend it."
    ),
    invoke_without_command=True,
    rich_markup_mode=None,
)


@app.callback()
def doctor(
    config: Annotated[Path, typer.Option("--config", help=say("doctor.toml", "doctor.toml"))] = Path(
        "/etc/yemai/doctor.toml"
    ),
    json: Annotated[
        bool, typer.Option("--json", help=say("每行一个 JSON 对象", "one JSON object a line"))
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help=say("注意项也以 1 结束", "end with 1 for a warning too"))
    ] = False,
) -> None:
    """Ends with 1 when something is bad, with ``--strict`` for a warning too, and with 2 when the file cannot be read."""
    import msgspec  # noqa: PLC0415 - only what the word needs

    from yemai.doctor.examine import examine  # noqa: PLC0415 - cryptography is the centre's alone
    from yemai.doctor.plan import load_plan  # noqa: PLC0415 - see above

    counts = {"ok": 0, "warning": 0, "bad": 0}
    marks = {"ok": say("正常", "ok"), "warning": say("注意", "warning"), "bad": say("危险", "BAD")}
    for finding in examine(load_plan(config), datetime.now(UTC)):
        counts[finding.level] += 1
        if json:
            typer.echo(msgspec.json.encode(finding).decode())
            continue
        typer.echo(f"{marks[finding.level]:8} {finding.id}: {pick(finding.told)}")
        if finding.mend.en:
            typer.echo(f"         → {pick(finding.mend)}")
    if not json:
        typer.echo(", ".join(f"{marks[level]} {count}" for level, count in counts.items()))
    if counts["bad"] or (strict and counts["warning"]):
        raise typer.Exit(1)
