r"""DingTalk group robot: https://open.dingtalk.com/document/orgapp/custom-robots-send-group-messages.

The signature is HMAC-SHA256 under the secret over ``timestamp_ms + "\n" + secret``, base64, in the query; it is
encoded once, by the HTTP client.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import aiohttp
import msgspec

from command_center.channel import Answer, Limits, Message, Receipt, ask, check_distinct, written
from telemetry.config import Secret

LIMITS = Limits(credentials=((18, 60.0),), most_bytes=20_000)  # beyond 20 a minute: blocked for ten minutes
LINK = "room"
_BLOCKED_S = 600.0


class Robot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A robot's token, and its secret where it signs."""

    token: Secret
    secret: Secret | None = None


class Config(Robot, frozen=True, forbid_unknown_fields=True):
    """A robot; ``pool`` are further ones in the same group, which speak in turn."""

    pool: tuple[Robot, ...] = ()
    url: str = "https://oapi.dingtalk.com"

    def __post_init__(self) -> None:
        """Check the pool."""
        check_distinct((self.token, *(robot.token for robot in self.pool)))


def sign(secret: str, time_ms: int) -> str:
    """Return the signature."""
    words = f"{time_ms}\n{secret}".encode()
    return base64.b64encode(hmac.digest(secret.encode(), words, hashlib.sha256)).decode()


def receipt(answer: Answer) -> Receipt:
    """Read ``{"errcode": 0}``; 130101 too fast, 310000 signature, keyword or address, 460101 too long."""
    body = answer.body or {}
    code = body.get("errcode")
    if not isinstance(code, int):
        return answer.unreadable()
    if code == 0:
        return answer.receipt("accepted", 0)
    if code == 130101:
        return answer.receipt("failed_temp", code, body.get("errmsg", ""), wait_s=_BLOCKED_S)
    return answer.receipt("failed_temp" if code == -1 else "failed_perm", code, body.get("errmsg", ""))


class Channel:
    """Speaks to everybody in the group; the address is not used."""

    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self._config, self._http = config, http
        self._robots: tuple[Robot, ...] = (config, *config.pool)

    async def send(self, message: Message, address: str) -> Receipt:  # noqa: ARG002
        """Send a text."""
        content = written(message, LIMITS.most_bytes - 500)
        robot = self._robots[message.lane]
        query = {"access_token": robot.token.reveal()}
        if robot.secret:
            now = time.time_ns() // 1_000_000
            query |= {"timestamp": str(now), "sign": sign(robot.secret.reveal(), now)}
        body = {"msgtype": "text", "text": {"content": content}}
        return receipt(
            await ask(self._http, "POST", f"{self._config.url}/robot/send", params=query, json=body)
        )
