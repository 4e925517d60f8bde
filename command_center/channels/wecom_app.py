"""WeCom application message to one member: https://developer.work.weixin.qq.com/document/path/90236.

``errcode`` 0 alone is not enough: a member in ``invaliduser`` or ``unlicenseduser`` gets nothing.
"""

from __future__ import annotations

import aiohttp
import msgspec

from command_center.channel import Answer, Limits, Message, Receipt, ask, written
from command_center.tokens import Tokens
from telemetry.config import Secret

LIMITS = Limits(
    address=((25, 60.0), (900, 3600.0)), most_bytes=2048
)  # beyond 30 a minute the vendor drops in silence
LINK = "person"
_TEMPORARY = {-1, 45009, 45033}
TOKEN_CODES = {40014, 42001, 41001}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The corporation's id, the application's number and secret."""

    corp_id: str
    agent_id: int
    secret: Secret
    url: str = "https://qyapi.weixin.qq.com"


def receipt(answer: Answer, member: str) -> Receipt:
    """Read ``{"errcode", "invaliduser": "a|b", "unlicenseduser": "", "msgid"}`` for one member."""
    body = answer.body or {}
    code = body.get("errcode")
    if not isinstance(code, int):
        return answer.unreadable()
    if code != 0:
        temporary = code in _TEMPORARY | TOKEN_CODES
        return answer.receipt("failed_temp" if temporary else "failed_perm", code, body.get("errmsg", ""))
    for field in ("invaliduser", "unlicenseduser"):
        if member.lower() in str(body.get(field) or "").lower().split("|"):
            return answer.receipt("failed_perm", field, f"the member is in '{field}'")
    return answer.receipt("accepted", 0, provider_id=str(body.get("msgid", "")))


class Channel:
    """The address is the member's user id."""

    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self._config, self._http = config, http
        self._tokens = Tokens(self._fetch)

    async def send(self, message: Message, address: str) -> Receipt:
        """Send a text; a token that ran out is fetched anew, once."""
        content = written(message, LIMITS.most_bytes)
        body = {
            "touser": address, "msgtype": "text", "agentid": self._config.agent_id, "text": {"content": content},
            "enable_duplicate_check": 1, "duplicate_check_interval": 1800,
        }  # fmt: skip
        url = f"{self._config.url}/cgi-bin/message/send"

        async def post(token: str) -> Receipt:
            return receipt(
                await ask(self._http, "POST", url, params={"access_token": token}, json=body), address
            )

        return await self._tokens.spend(post, {str(code) for code in TOKEN_CODES})

    async def _fetch(self) -> Answer:
        query = {"corpid": self._config.corp_id, "corpsecret": self._config.secret.reveal()}
        return await ask(self._http, "GET", f"{self._config.url}/cgi-bin/gettoken", params=query)
