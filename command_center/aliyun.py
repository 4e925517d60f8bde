"""Aliyun's RPC calls, signed by ACS3-HMAC-SHA256: https://help.aliyun.com/zh/sdk/product-overview/v3-request-structure-and-signature."""

from __future__ import annotations

import hashlib
import hmac
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from command_center.channel import Answer, Outcome, Receipt, ask

if TYPE_CHECKING:
    import aiohttp

    from telemetry.config import Secret

_TEMPORARY = ("isv.BUSINESS_LIMIT_CONTROL", "isp.", "Throttling", "ServiceUnavailable", "InternalError")


async def call(
    http: aiohttp.ClientSession,
    url: str,
    action: str,
    version: str,
    query: dict[str, str],
    key_id: str,
    key: Secret,
) -> Answer:
    """Call ``action`` with its parameters in the query."""
    host = urlsplit(url).netloc
    headers = {
        "host": host,
        "x-acs-action": action,
        "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
        "x-acs-date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "x-acs-signature-nonce": uuid.uuid4().hex,
        "x-acs-version": version,
    }
    line = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query.items())
    )
    headers["Authorization"] = authorization("POST", line, headers, key_id, key.reveal())
    import yarl  # noqa: PLC0415 - aiohttp's own; the query is encoded exactly as it was signed

    return await ask(http, "POST", yarl.URL(f"{url}/?{line}", encoded=True), headers=headers)  # type: ignore[arg-type]


def authorization(method: str, query: str, headers: dict[str, str], key_id: str, key: str) -> str:
    """Return the Authorization header over a canonical request."""
    names = sorted(headers)
    canonical = "\n".join(
        [
            method,
            "/",
            query,
            *(f"{name}:{headers[name]}" for name in names),
            "",
            ";".join(names),
            headers["x-acs-content-sha256"],
        ]
    )
    words = "ACS3-HMAC-SHA256\n" + hashlib.sha256(canonical.encode()).hexdigest()
    signature = hmac.digest(key.encode(), words.encode(), hashlib.sha256).hex()
    return f"ACS3-HMAC-SHA256 Credential={key_id},SignedHeaders={';'.join(names)},Signature={signature}"


def receipt(answer: Answer, id_field: str) -> Receipt:
    """Read ``{"Code": "OK", …}``; the message's number stands in ``id_field``."""
    body = answer.body or {}
    code = body.get("Code")
    if not isinstance(code, str):
        return answer.unreadable()
    return answer.receipt(
        outcome(code), code, body.get("Message", ""), provider_id=str(body.get(id_field, ""))
    )


def outcome(code: str) -> Outcome:
    """Return what a ``Code`` comes to: only ``OK`` is taken, whatever the HTTP status says."""
    if code == "OK":
        return "accepted"
    return "failed_temp" if code.startswith(_TEMPORARY) else "failed_perm"
