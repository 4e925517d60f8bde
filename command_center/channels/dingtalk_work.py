"""DingTalk work notice: https://open.dingtalk.com/document/orgapp/asynchronous-sending-of-enterprise-session-messages.

The vendor takes a task and tells later, when asked, who read it and who never gets it.
"""

from __future__ import annotations

import aiohttp
import msgspec

from command_center.channel import Answer, Limits, Message, Receipt, ask, written
from command_center.tokens import Tokens
from telemetry.config import Secret

LIMITS = Limits(
    credentials=((20, 1.0),), address=((450, 86_400.0),), most_bytes=2048
)  # the vendor's: 500 a day
LINK = "person"
TOKEN_CODES = {40014, 42001, 33001}
_TEMPORARY = {-1, 88, 90018}


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The application's number, key and secret."""

    agent_id: int
    app_key: str
    app_secret: Secret
    url: str = "https://oapi.dingtalk.com"


def receipt(answer: Answer) -> Receipt:
    """Read ``{"errcode": 0, "task_id": …}``."""
    body = answer.body or {}
    code = body.get("errcode")
    if not isinstance(code, int):
        return answer.unreadable()
    if code == 0 and body.get("task_id"):
        return answer.receipt("accepted", 0, provider_id=str(body["task_id"]))
    temporary = code in _TEMPORARY | TOKEN_CODES or code == 0
    return answer.receipt("failed_temp" if temporary else "failed_perm", code, body.get("errmsg", "no task"))


def result(answer: Answer, member: str) -> Receipt | None:
    """Read ``getsendresult`` for one member; None while there is nothing to tell yet."""
    body = answer.body or {}
    told = body.get("send_result")
    if body.get("errcode") != 0 or not isinstance(told, dict):
        return None
    for field in ("invalid_user_id_list", "forbidden_user_id_list", "failed_user_id_list"):
        if member in (told.get(field) or ()):
            return answer.receipt("failed_perm", field, f"the member is in '{field}'")
    if member in (told.get("read_user_id_list") or ()):
        return answer.receipt("read", 0)
    if member in (told.get("unread_user_id_list") or ()):
        return answer.receipt("delivered", 0)
    return None


class Channel:
    """The address is the member's user id."""

    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self._config, self._http = config, http
        self._tokens = Tokens(self._fetch)

    async def send(self, message: Message, address: str) -> Receipt:
        """Send a text; the id makes each one different, as the vendor drops the same text on the same day."""
        content = written(message, LIMITS.most_bytes - 10) + f"\n#{message.id[-8:]}"
        msg = {"msgtype": "text", "text": {"content": content}}
        body = {"agent_id": self._config.agent_id, "userid_list": address, "msg": msg}
        return await self._post("asyncsend_v2", body, receipt)

    async def check(self, provider_id: str, address: str) -> Receipt | None:
        """Ask what became of an accepted message; None while the vendor does not know."""
        body = {"agent_id": self._config.agent_id, "task_id": int(provider_id)}
        told: list[Receipt | None] = []

        def read(answer: Answer) -> Receipt:
            told.append(result(answer, address))
            return told[-1] or receipt(answer)

        await self._post("getsendresult", body, read)
        return told[-1]

    async def _post(self, word: str, body: object, read: object) -> Receipt:
        url = f"{self._config.url}/topapi/message/corpconversation/{word}"
        assert callable(read)

        async def post(token: str) -> Receipt:
            found: Receipt = read(
                await ask(self._http, "POST", url, params={"access_token": token}, json=body)
            )
            return found

        return await self._tokens.spend(post, {str(code) for code in TOKEN_CODES})

    async def _fetch(self) -> Answer:
        query = {"appkey": self._config.app_key, "appsecret": self._config.app_secret.reveal()}
        return await ask(self._http, "GET", f"{self._config.url}/gettoken", params=query)
