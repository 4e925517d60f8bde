"""Aliyun voice call, ``SingleCallByTts``: https://help.aliyun.com/zh/vms/developer-reference/api-dyvmsapi-2017-05-25-singlecallbytts.

An accepted call is not an answered one; the push ``VoiceReport`` says so later, with the key that was pressed.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

from command_center import aliyun
from command_center.channel import Answer, Limits, Message, Receipt, Report
from command_center.channels._sms_template import fill
from telemetry.config import Secret

LIMITS = Limits(
    address=((1, 60.0), (5, 3600.0), (20, 86_400.0))
)  # the vendor's own, for a number and template
ANSWERED = "200000"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Credentials, the number that calls, and the template with the facts it takes."""

    key_id: str
    key: Secret
    from_number: str
    template: str
    variables: dict[str, int]
    url: str = "https://dyvmsapi.aliyuncs.com"


def receipt(answer: Answer) -> Receipt:
    """Read ``{"Code": "OK", "CallId": …}``."""
    return aliyun.receipt(answer, "CallId")


def reports(body: Any) -> list[Report]:
    """Read a push of ``VoiceReport``: a list of ``{"call_id", "status_code", "dtmf"}``."""
    found = []
    for one in body if isinstance(body, list) else []:
        if isinstance(one, dict) and isinstance(one.get("call_id"), str):
            status = str(one.get("status_code", ""))
            outcome = "delivered" if status == ANSWERED else "failed_perm"
            found.append(Report(one["call_id"], outcome, status, str(one.get("dtmf") or "")))  # type: ignore[arg-type]
    return found


class Channel:
    """The address is a telephone number."""

    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self._config, self._http = config, http

    async def send(self, message: Message, address: str) -> Receipt:
        """Call."""
        config = self._config
        query = {
            "CalledNumber": address,
            "CalledShowNumber": config.from_number,
            "TtsCode": config.template,
            "TtsParam": msgspec.json.encode(fill(config.variables, message.facts)).decode(),
            "OutId": message.id[-15:],
        }
        answer = await aliyun.call(
            self._http, config.url, "SingleCallByTts", "2017-05-25", query, config.key_id, config.key
        )
        return receipt(answer)
