"""``yemai boards``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from telemetry.config import Secret
from telemetry.errors import Refused, did_you_mean
from yemai.commands._part import group
from yemai.words import say

app = group("Grafana 看板。", "Grafana boards.")

Languages = Annotated[str, typer.Option("--lang", help=say("zh、en 或 both", "zh, en or both"))]
Center = Annotated[
    str,
    typer.Option(help=say("操作员打开指挥中心页面的地址", "where operators open the command centre's page")),
]
InfluxUid = Annotated[
    str, typer.Option("--influx", help=say("InfluxDB 数据源的 uid", "uid of the InfluxDB data source"))
]
PrometheusUid = Annotated[
    str,
    typer.Option("--prometheus", help=say("Prometheus 数据源的 uid", "uid of the Prometheus data source")),
]


@app.command(help=say("写出文件方式的配置：数据源、看板、文件夹。", "Write a bundle for file provisioning."))
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help=say("目标目录", "where to"))],
    lang: Languages = "both",
    center: Center = "http://127.0.0.1:8686",
    at: Annotated[str, typer.Option(help=say("Grafana 所见的 DIR 路径", "DIR as Grafana will see it"))] = "",
    influx_url: Annotated[str, typer.Option(help="InfluxDB")] = "http://127.0.0.1:8086",
    influx_version: Annotated[int, typer.Option(min=1, max=3, help="1, 2, 3")] = 2,
    database: Annotated[str, typer.Option(help=say("数据库或桶", "database or bucket"))] = "yemai",
    username: Annotated[str, typer.Option(help=say("InfluxDB 1.x 用户名", "user of InfluxDB 1.x"))] = "",
    token_file: Annotated[
        str,
        typer.Option(
            help=say("Grafana 所见的令牌或密码文件", "file with token or password, as Grafana will see it")
        ),
    ] = "",
    prometheus_url: Annotated[str, typer.Option(help="Prometheus")] = "http://127.0.0.1:9090",
) -> None:
    """Write a bundle for file provisioning."""
    from dashboards.export import Sources  # noqa: PLC0415 - the builder library is the boards' alone
    from dashboards.export import export as write  # noqa: PLC0415
    from dashboards.look import Look  # noqa: PLC0415

    version: dict[int, Literal[1, 2, 3]] = {1: 1, 2: 2, 3: 3}
    sources = Sources(influx_url, version[influx_version], database, username, token_file, prometheus_url)
    files = write(folder, sources, look=Look(center=center), languages=_languages(lang), seen_at=at)
    typer.echo(say(f"已写出 {len(files)} 个文件到 {folder}", f"{len(files)} files written to {folder}"))


@app.command(
    help=say("把看板写入运行中的 Grafana (10–12)。", "Put the boards into a running Grafana (10 to 12).")
)
def push(
    url: Annotated[str, typer.Option(help=say("Grafana 的地址", "address of the Grafana"))],
    token_file: Annotated[
        Path, typer.Option(help=say("服务账号令牌文件", "file with a service account's token"))
    ],
    lang: Languages = "both",
    center: Center = "http://127.0.0.1:8686",
    influx: InfluxUid = "yemai-influxdb",
    prometheus: PrometheusUid = "yemai-prometheus",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help=say("只列出会改变什么", "only tell what would change"))
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(help=say("删除不再生成的本系统看板", "delete boards of ours that are made no more")),
    ] = False,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help=say("文件夹权限，如 Viewer=View；可多次", "who may do what, as Viewer=View; may be repeated")
        ),
    ] = None,
) -> None:
    """Put the boards into a running Grafana."""
    from dashboards.look import Look  # noqa: PLC0415 - see above
    from dashboards.push import Grafana  # noqa: PLC0415

    grafana, roles = Grafana(url, _token(token_file)), _roles(allow or [])
    foreign = 0
    for language in _languages(lang):
        look = Look(language, center, influx, prometheus)
        version = grafana.check(look)
        title = look.folder[1]
        typer.echo(f"{url} (Grafana {version}) / {title}" + (say(" · 演练", " · dry run") if dry_run else ""))
        counts: dict[str, int] = {}
        for done in grafana.push(look, dry_run=dry_run, prune=prune):
            counts[done.what] = counts.get(done.what, 0) + 1
            if done.what != "unchanged":
                typer.echo(f"  {_what(done.what, dry_run=dry_run)}  {done.uid}")
            for change in done.changes:
                typer.echo(f"      {change}")
        if roles and grafana.permit(look, roles, dry_run=dry_run):
            typer.echo(
                say("  权限  ", "  permissions  ") + ", ".join(f"{role}={may}" for role, may in roles.items())
            )
        typer.echo(
            "  "
            + ", ".join(f"{_what(what, dry_run=dry_run)} {count}" for what, count in sorted(counts.items()))
        )
        foreign += counts.get("foreign", 0)
    if foreign:
        raise Refused(
            say(
                f"{foreign} 个看板占用了我们的 uid 但没有我们的标签，未改动；请在 Grafana 中改其 uid 后再试",
                f"{foreign} boards have a uid of ours without our tag and were left alone; give them another uid in Grafana and push again",
            )
        )


def _what(what: str, *, dry_run: bool) -> str:
    words = {
        "created": say("新建", "create" if dry_run else "created"),
        "updated": say("更新", "update" if dry_run else "updated"),
        "unchanged": say("不变", "unchanged"),
        "foreign": say("非本系统，未动", "foreign, left alone"),
        "left": say("多余（--prune 可删除）", "no longer made (--prune deletes it)"),
        "deleted": say("删除", "delete" if dry_run else "deleted"),
    }
    return words[what]


def _languages(lang: str) -> tuple[Literal["zh", "en"], ...]:
    known: dict[str, tuple[Literal["zh", "en"], ...]] = {"both": ("zh", "en"), "zh": ("zh",), "en": ("en",)}
    if lang not in known:
        raise Refused(f"--lang '{lang}': {did_you_mean(lang, known)}")
    return known[lang]


def _roles(allow: list[str]) -> dict[str, str]:
    found = {}
    for entry in allow:
        role, _, may = entry.partition("=")
        if role not in ("Viewer", "Editor") or may not in ("View", "Edit", "Admin"):
            raise Refused(f"--allow '{entry}': write ROLE=PERMISSION, Viewer or Editor = View, Edit or Admin")
        found[role] = may
    return found


def _token(path: Path) -> Secret:
    try:
        told = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"--token-file {path}: cannot be read: {error}") from None
    if not told or len(told.split()) != 1:
        raise Refused(f"--token-file {path}: holds no token; put nothing but a service account's token there")
    return Secret(told)
