"""Aliyun SMS, ``SendSms``: https://help.aliyun.com/zh/sms/developer-reference/api-dysmsapi-2017-05-25-sendsms.

Only approved templates go out: the message's facts fill the template's variables, each cut to what the vendor takes.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

from command_center import aliyun
from command_center.channel import Answer, Limits, Message, Receipt, Report
from command_center.channels._sms_template import fill
from telemetry.config import Secret

LIMITS = Limits(address=((45, 86_400.0),))  # the vendor's: 50 a day for a number, signature and template


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Credentials, signature, and the template with the facts it takes: ``{"level": 20, …}`` names and characters."""

    key_id: str
    key: Secret
    sign_name: str
    template: str
    variables: dict[str, int]
    url: str = "https://dysmsapi.aliyuncs.com"


def receipt(answer: Answer) -> Receipt:
    """Read ``{"Code": "OK", "BizId": …}``."""
    return aliyun.receipt(answer, "BizId")


def reports(body: Any) -> list[Report]:
    """Read a push of ``SmsReport``: a list of ``{"biz_id", "success", "err_code"}``."""
    found = []
    for one in body if isinstance(body, list) else []:
        if isinstance(one, dict) and isinstance(one.get("biz_id"), str):
            delivered = one.get("success") is True and one.get("err_code") == "DELIVERED"
            found.append(
                Report(
                    one["biz_id"], "delivered" if delivered else "failed_perm", str(one.get("err_code", ""))
                )
            )
    return found


class Channel:
    """The address is a telephone number."""

    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self._config, self._http = config, http

    async def send(self, message: Message, address: str) -> Receipt:
        """Send the template."""
        config = self._config
        query = {
            "PhoneNumbers": address,
            "SignName": config.sign_name,
            "TemplateCode": config.template,
            "TemplateParam": msgspec.json.encode(fill(config.variables, message.facts)).decode(),
            "OutId": message.id,
        }
        answer = await aliyun.call(
            self._http, config.url, "SendSms", "2017-05-25", query, config.key_id, config.key
        )
        return receipt(answer)
