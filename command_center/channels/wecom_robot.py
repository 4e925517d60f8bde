"""WeCom group robot: https://developer.work.weixin.qq.com/document/path/91770."""

from __future__ import annotations

import aiohttp
import msgspec

from command_center.channel import Answer, Limits, Message, Receipt, ask, check_distinct, written
from telemetry.config import Secret

LIMITS = Limits(credentials=((18, 60.0),), most_bytes=2048)  # the vendor's: 20 a minute, text of 2,048 bytes
LINK = "room"
_TEMPORARY = {-1, 45009, 45033}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The robot's key; ``pool`` are those of further robots in the same group, which speak in turn."""

    key: Secret
    pool: tuple[Secret, ...] = ()
    url: str = "https://qyapi.weixin.qq.com"

    def __post_init__(self) -> None:
        """Check the pool."""
        check_distinct((self.key, *self.pool))


def receipt(answer: Answer) -> Receipt:
    """Read ``{"errcode": 0, "errmsg": "ok"}``."""
    code = answer.body.get("errcode") if answer.body else None
    if not isinstance(code, int):
        return answer.unreadable()
    if code == 0:
        return answer.receipt("accepted", 0)
    said = answer.body.get("errmsg", "") if answer.body else ""
    return answer.receipt(
        "failed_temp" if code in _TEMPORARY else "failed_perm",
        code,
        said,
        wait_s=60.0 if code == 45009 else 0.0,
    )


class Channel:
    """Speaks to everybody in the group; the address is not used."""

    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self._config, self._http, self._keys = config, http, (config.key, *config.pool)

    async def send(self, message: Message, address: str) -> Receipt:  # noqa: ARG002
        """Send a text."""
        body = {
            "msgtype": "text",
            "text": {"content": written(message, LIMITS.most_bytes)},
        }
        url, query = f"{self._config.url}/cgi-bin/webhook/send", {"key": self._keys[message.lane].reveal()}
        return receipt(await ask(self._http, "POST", url, params=query, json=body))
