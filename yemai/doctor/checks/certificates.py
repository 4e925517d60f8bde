"""Certificates that end soon or are over, a stale revocation list, and keys and tokens that others may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from telemetry.text import Text
from yemai.doctor.finding import bad, warning, well

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from yemai.doctor.finding import Finding
    from yemai.doctor.plan import Plan

SOON_DAYS = 30
_OTHERS = 0o007


def check(plan: Plan, now: datetime) -> Iterator[Finding]:
    """Look at the files."""
    for path in plan.certificates:
        yield _lasting(path, now)
    if plan.crl is not None:
        yield _current(plan.crl, now)
    keys = [path.with_suffix(".key") for path in plan.certificates]
    for path in [*(key for key in keys if key.exists()), *plan.secrets]:
        yield _secret(path)


def _lasting(path: Path, now: datetime) -> Finding:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        return bad("certificate_unreadable", Text(f"证书 {path} 不可用：{error}", f"certificate {path} cannot be used: {error}"),
                   Text("用 `yemai pki renew` 重发", "issue it again with `yemai pki renew`"))  # fmt: skip
    days = (certificate.not_valid_after_utc - now).total_seconds() / 86_400
    renew = Text(
        "`yemai pki renew NAME`，复制后重启其所有者", "`yemai pki renew NAME`, copy it and restart its owner"
    )
    if days < 0:
        return bad(
            "certificate_over",
            Text(f"证书 {path} 已过期 {-days:.0f} 天", f"certificate {path} ended {-days:.0f} days ago"),
            renew,
        )
    if days < SOON_DAYS:
        return warning(
            "certificate_ends",
            Text(f"证书 {path} 还有 {days:.0f} 天到期", f"certificate {path} ends in {days:.0f} days"),
            renew,
        )
    return well(
        "certificate", f"证书 {path} 还有 {days:.0f} 天", f"certificate {path} is good for {days:.0f} days"
    )


def _current(path: Path, now: datetime) -> Finding:
    write = Text(
        "`yemai pki crl`，复制到消息服务器并重启", "`yemai pki crl`, copy it to the broker and restart it"
    )
    try:
        ends = x509.load_pem_x509_crl(path.read_bytes()).next_update_utc
    except (OSError, ValueError) as error:
        return bad(
            "crl_unreadable",
            Text(f"吊销列表 {path} 不可用：{error}", f"revocation list {path} cannot be used: {error}"),
            write,
        )
    days = ((ends or now) - now).total_seconds() / 86_400
    if days <= 0:
        return bad(
            "crl_stale",
            Text(
                f"吊销列表 {path} 已过期，所有连接都会被拒绝",
                f"revocation list {path} is stale; the broker refuses everybody",
            ),
            write,
        )
    if days < SOON_DAYS:
        return warning(
            "crl_ends",
            Text(
                f"吊销列表 {path} 还有 {days:.0f} 天到期",
                f"revocation list {path} is stale in {days:.0f} days",
            ),
            write,
        )
    return well("crl", f"吊销列表 {path} 有效", f"revocation list {path} is current")


def _secret(path: Path) -> Finding:
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        return bad("secret_missing", Text(f"{path}：{error.strerror}", f"{path}: {error.strerror}"),
                   Text("放置该文件或从 doctor.toml 删去", "put it there, or take it out of doctor.toml"))  # fmt: skip
    if mode & _OTHERS:
        return bad("secret_readable", Text(f"{path} 的权限为 {mode:o}，人人可读", f"{path} has mode {mode:o}; everybody may read it"),
                   Text(f"chmod 600 {path}，并更换其内容", f"chmod 600 {path}, and replace what was in it"))  # fmt: skip
    return well("secret", f"{path} 只有其所有者可读", f"{path} is its owner's alone")
