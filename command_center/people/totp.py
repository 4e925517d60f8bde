"""The second factor: time-based one-time codes (RFC 6238), each good once."""

from __future__ import annotations

import io

import pyotp
import segno

STEP_S = 30
_DRIFT = 1  # steps a telephone's clock may be off


def new_secret() -> str:
    """Return a secret of 160 bits, base32."""
    return pyotp.random_base32()


def match(secret: str, code: str, now_ms: int, used: int) -> int | None:
    """Return the step that a code stands for, later than the ``used`` one; None when it stands for none."""
    maker, now = pyotp.HOTP(secret), now_ms // 1000 // STEP_S
    steps = range(max(now - _DRIFT, used + 1), now + _DRIFT + 1)
    return next((step for step in steps if maker.verify(code, step)), None)


def address(secret: str, login: str, issuer: str) -> str:
    """Return the ``otpauth:`` address that an authenticator reads."""
    return pyotp.TOTP(secret).provisioning_uri(name=login, issuer_name=issuer)


def picture(text: str) -> str:
    """Return a QR code as SVG."""
    out = io.BytesIO()
    segno.make(text, error="m").save(
        out, kind="svg", scale=4, border=4, xmldecl=False, light="#fff", dark="#000"
    )
    return out.getvalue().decode()
