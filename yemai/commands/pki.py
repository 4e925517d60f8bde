"""``yemai pki``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telemetry.errors import Refused
from yemai.commands._part import group
from yemai.words import say

if TYPE_CHECKING:
    from yemai.pki.authority import Authority, Issued

app = group("证书：自有机构、签发、续期、吊销。", "Certificates: an authority of one's own.")

Folder = Annotated[Path, typer.Option("--pki", help=say("证书机构目录", "the authority's folder"))]
Csr = Annotated[
    Path | None,
    typer.Option(help=say("设备自制密钥的请求文件 (PEM)", "request of a device that keeps its key (PEM)")),
]
Days = Annotated[int, typer.Option(help=say("有效天数", "good for so many days"))]
_HERE = Path("/etc/yemai/pki")


@app.command(help=say("新建证书机构。", "Make the authority."))
def init(pki: Folder = _HERE, title: Annotated[str, typer.Option(help="CN")] = "Yemai CA") -> None:
    """Make the authority."""
    from yemai.pki.authority import Authority  # noqa: PLC0415 - cryptography is the centre's alone

    Authority.create(pki, title)
    typer.echo(
        say(
            f"证书机构在 {pki}；ca.key 请离线备份",
            f"the authority is in {pki}; keep a copy of ca.key off line",
        )
    )


@app.command(help=say("为边缘代理签发证书。", "Enrol an edge agent."))
def agent(name: str, pki: Folder = _HERE, csr: Csr = None, days: Days = 397) -> None:
    """Enrol an edge agent."""
    _told(pki, _authority(pki).issue(name, "agent", csr=_read(csr), days=days))


@app.command(help=say("为服务签发证书（接入、中心、代理服务器、doctor）。", "Issue a service's certificate."))
def service(
    name: str,
    pki: Folder = _HERE,
    host: Annotated[
        list[str] | None,
        typer.Option(help=say("服务端的域名或 IP；可多次", "name or IP of a server; may be repeated")),
    ] = None,
    csr: Csr = None,
    days: Days = 397,
) -> None:
    """Issue a service's certificate."""
    _told(pki, _authority(pki).issue(name, "service", hosts=host or (), csr=_read(csr), days=days))


@app.command(help=say("续期：新密钥、新证书。", "Renew: a new key and certificate."))
def renew(name: str, pki: Folder = _HERE, csr: Csr = None, days: Days = 397) -> None:
    """Renew a certificate."""
    _told(pki, _authority(pki).renew(name, csr=_read(csr), days=days))


@app.command(help=say("吊销一个名称的全部证书。", "Take back all certificates of a name."))
def revoke(name: str, pki: Folder = _HERE) -> None:
    """Take back all certificates of a name."""
    taken = _authority(pki).revoke(name)
    typer.echo(
        say(
            f"已吊销 {len(taken)} 张；把 {pki / 'crl.pem'} 复制到消息服务器并重启 mosquitto",
            f"revoked {len(taken)}; copy {pki / 'crl.pem'} to the broker and restart mosquitto",
        )
    )


@app.command(
    "list",
    help=say("列出证书；有即将到期的则以 1 退出。", "List certificates; ends with 1 when some end soon."),
)
def list_all(
    pki: Folder = _HERE,
    within: Annotated[float, typer.Option(help=say("天内到期算即将", "days that are soon"))] = 30.0,
) -> None:
    """List certificates."""
    authority = _authority(pki)
    soon = {one.serial for one in authority.ending(within)}
    for one in authority.issued:
        mark = (
            say("已吊销", "revoked")
            if one.revoked
            else (say("即将到期", "ends soon") if one.serial in soon else "")
        )
        typer.echo(f"{one.name:24} {one.kind:8} {_date(one.until)}  {mark}".rstrip())
    if soon:
        raise typer.Exit(1)


@app.command(help=say("重写吊销列表。", "Write the revocation list anew."))
def crl(pki: Folder = _HERE) -> None:
    """Write the revocation list anew."""
    _authority(pki).write_crl()
    typer.echo(str(pki / "crl.pem"))


@app.command(help=say("打印 mosquitto 的 acl_file。", "Print mosquitto's acl_file."))
def acl(
    area: str,
    ingest: Annotated[list[str] | None, typer.Option(help=say("接入的证书名", "ingest's name"))] = None,
    center: Annotated[list[str] | None, typer.Option(help=say("中心的证书名", "the centre's name"))] = None,
    operator: Annotated[list[str] | None, typer.Option(help=say("推送配置者的证书名", "who pushes configurations"))] = None,
    gateway: Annotated[list[str] | None, typer.Option(help=say("数据报网关的证书名", "a datagram gateway's name"))] = None,
) -> None:  # fmt: skip
    """Print mosquitto's acl_file."""
    from yemai.pki.acl import acl as text  # noqa: PLC0415 - beside the command of the same name

    told = text(
        area, ingests=ingest or ("ingest-1",), centers=center or ("center",),
        operators=operator or (), gateways=gateway or (),
    )  # fmt: skip
    typer.echo(told, nl=False)


def _authority(pki: Path) -> Authority:
    from yemai.pki.authority import Authority  # noqa: PLC0415 - see above

    return Authority(pki)


def _told(pki: Path, issued: Issued) -> None:
    place = pki / "issued" / issued.name
    typer.echo(f"{place}.crt  {issued.name}  {_date(issued.until)}")


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"--csr {path}: {error.strerror}") from None


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
