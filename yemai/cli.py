"""The ``yemai`` command: one word for each part, and ``demo`` for all of them together."""

from __future__ import annotations

import typer

from telemetry import plugins
from telemetry.config_lines import with_lines
from telemetry.errors import ConfigError, YemaiError
from yemai import __version__
from yemai.words import say

_COMMANDS = "yemai.commands"

app = typer.Typer(
    help=say(
        "叶脉：从街头的寄存器到指挥中心的告警。",
        "Yemai: from a register on the street to an alarm in the command centre.",
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _name in plugins.names(_COMMANDS):
    app.add_typer(plugins.load(_COMMANDS, _name).app, name=_name)


@app.command(help=say("打印版本号。", "Print the version."))
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command; errors that a person can mend are one plain sentence."""
    try:
        app()
    except YemaiError as error:
        typer.echo(f"yemai: {with_lines(error) if isinstance(error, ConfigError) else error}", err=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
