r"""Feishu group robot: https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot.

The signature is HMAC-SHA256 of nothing under the key ``timestamp_s + "\n" + secret``, base64, in the body.
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

LIMITS = Limits(
    credentials=((4, 1.0), (90, 60.0)), most_bytes=20_000, avoid_s=10.0
)  # the vendor's: 5 a second, 100 a minute
LINK = "room"
_TEMPORARY = {9499, 11232}


class Robot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A hook's token, and its secret where it signs."""

    token: Secret
    secret: Secret | None = None


class Config(Robot, frozen=True, forbid_unknown_fields=True):
    """A robot; ``pool`` are further ones in the same group, which speak in turn."""

    pool: tuple[Robot, ...] = ()
    url: str = "https://open.feishu.cn"

    def __post_init__(self) -> None:
        """Check the pool."""
        check_distinct((self.token, *(robot.token for robot in self.pool)))


def sign(secret: str, time_s: int) -> str:
    """Return the signature."""
    return base64.b64encode(hmac.digest(f"{time_s}\n{secret}".encode(), b"", hashlib.sha256)).decode()


def receipt(answer: Answer) -> Receipt:
    """Read ``{"code": 0}``; 9499 and 11232 too fast, 19021 signature, 19022 address, 19024 keyword."""
    body = answer.body or {}
    code = body.get("code")
    if not isinstance(code, int):
        return answer.unreadable()
    if code == 0:
        return answer.receipt("accepted", 0)
    temporary = code in _TEMPORARY
    return answer.receipt(
        "failed_temp" if temporary else "failed_perm",
        code,
        body.get("msg", ""),
        wait_s=2.0 if temporary else 0.0,
    )


class Channel:
    """Speaks to everybody in the group; the address is not used."""

    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self._config, self._http = config, http
        self._robots: tuple[Robot, ...] = (config, *config.pool)

    async def send(self, message: Message, address: str) -> Receipt:  # noqa: ARG002
        """Send a text."""
        text = written(message, LIMITS.most_bytes - 500)
        body: dict[str, object] = {"msg_type": "text", "content": {"text": text}}
        robot = self._robots[message.lane]
        if robot.secret:
            now = int(time.time())
            body |= {"timestamp": str(now), "sign": sign(robot.secret.reveal(), now)}
        url = f"{self._config.url}/open-apis/bot/v2/hook/{robot.token.reveal()}"
        return receipt(await ask(self._http, "POST", url, json=body))
