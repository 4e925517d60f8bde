"""E-mail by SMTP.  A server's 250 means that it took the message, not that anyone got it."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from typing import Literal

import aiohttp
import msgspec

from command_center.channel import TIMEOUT_S, Limits, Message, Receipt, written
from telemetry.config import Secret
from telemetry.errors import Unavailable

LIMITS = Limits(credentials=((60, 60.0),))
LINK = "person"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server and who writes."""

    host: str
    sender: str
    port: int = 465
    security: Literal["tls", "starttls", "none"] = "tls"
    user: str = ""
    password: Secret | None = None


def refusal(code: int, words: bytes | str) -> Receipt:
    """Return the receipt of an SMTP code: 4xx may pass, 5xx will not (RFC 5321, 4.2.1)."""
    said = words.decode(errors="replace") if isinstance(words, bytes) else words
    return Receipt("failed_temp" if 400 <= code < 500 else "failed_perm", str(code), said[:200])


class Channel:
    """The address is a mailbox."""

    def __init__(self, config: Config, _: aiohttp.ClientSession) -> None:
        self._config = config

    async def send(self, message: Message, address: str) -> Receipt:
        """Send."""
        return await asyncio.to_thread(self._send, message, address)

    def _send(self, message: Message, address: str) -> Receipt:
        config, mail = self._config, EmailMessage()
        mail["From"], mail["To"] = config.sender, address
        mail["Subject"] = " ".join(message.title.split())
        mail["Message-ID"] = f"<{message.id.replace('/', '.')}@yemai>"
        mail.set_content(written(message, 0, title=False))
        try:
            with self._connect() as server:
                if config.security == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if config.user and config.password:
                    server.login(config.user, config.password.reveal())
                server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            code, words = next(iter(error.recipients.values()))
            return refusal(code, words)
        except smtplib.SMTPResponseException as error:
            return refusal(error.smtp_code, error.smtp_error)
        except (smtplib.SMTPException, OSError) as error:
            raise Unavailable(f"no connection ({type(error).__name__})") from None
        return Receipt("accepted", "250", provider_id=mail["Message-ID"])

    def _connect(self) -> smtplib.SMTP:
        config = self._config
        if config.security == "tls":
            return smtplib.SMTP_SSL(
                config.host, config.port, timeout=TIMEOUT_S, context=ssl.create_default_context()
            )
        return smtplib.SMTP(config.host, config.port, timeout=TIMEOUT_S)
