"""A signed webhook after Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks.

::

    webhook-id: <message id>     webhook-timestamp: <unix s>     webhook-signature: v1,<base64> [v1,<base64> of the next secret]

Only https, only to hosts on the list, only to public addresses: a name is resolved once and that address is the one
connected to, no redirect is followed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time

import aiohttp
import msgspec

from command_center.channel import Answer, Limits, Message, Receipt, ask, cut
from command_center.egress import Gate
from telemetry.config import Secret
from telemetry.errors import Refused

LIMITS = Limits(credentials=((60, 60.0),), most_bytes=20_000)
READ_BY_PEOPLE = False
RETRIES_S = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""When to try again, after Standard Webhooks: a receiver may be away for three days."""
LASTS_S = 80 * 3600.0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One or two secrets (``whsec_…``), and the hosts that may be called; ``private`` allows the district's own network."""

    secrets: tuple[Secret, ...]
    hosts: tuple[str, ...]
    private: bool = False


def sign(secret: str, message_id: str, time_s: int, body: bytes) -> str:
    """Return one signature.

    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        raise Refused("a webhook's secret is 'whsec_' and base64") from None
    words = f"{message_id}.{time_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, words, hashlib.sha256)).decode()


def receipt(answer: Answer) -> Receipt:
    """2xx was taken; 410 wants no more; what may pass is tried again."""
    if 200 <= answer.status < 300:
        return answer.receipt("accepted", answer.status)
    temporary = answer.status in {408, 425, 429} or answer.status >= 500
    return answer.receipt("failed_temp" if temporary else "failed_perm", answer.status)


class Channel:
    """The address is a URL."""

    def __init__(self, config: Config, http: aiohttp.ClientSession) -> None:
        self._config, self._http = config, http
        self._gate = Gate(config.hosts, private=config.private)

    async def send(self, message: Message, address: str) -> Receipt:
        """Post the message as JSON."""
        data = {
            "type": "alarm",
            "title": message.title,
            "text": message.text,
            "facts": message.facts,
            "drill": message.drill,
        }
        body = msgspec.json.encode(data)
        if len(body) > LIMITS.most_bytes:
            body = msgspec.json.encode(
                {**data, "text": cut(message.text, LIMITS.most_bytes // 4), "facts": {}}
            )
        now = int(time.time())
        signatures = " ".join(sign(one.reveal(), message.id, now, body) for one in self._config.secrets)
        headers = {
            "webhook-id": message.id, "webhook-timestamp": str(now), "webhook-signature": signatures,
            "content-type": "application/json",
        }  # fmt: skip
        async with self._gate.session(address) as http:
            return receipt(await ask(http, "POST", address, data=body, headers=headers))
