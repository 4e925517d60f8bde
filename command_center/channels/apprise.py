"""The long tail of services by apprise: https://github.com/caronc/apprise.  Needs the extra ``yemai[apprise]``.

Apprise tells yes or no and no vendor's receipt, so yes is ``accepted`` and no is tried again.  Vendors that have a file
of their own here are refused: to apprise their HTTP 200 with an error in it is success.

::

    channels: {ntfy: {kind: apprise, url: "file:ntfy.url"}}      # ntfy.url holds ntfys://TOKEN@ntfy.example/{address}
    people: {wang: {name: …, reach: {ntfy: wang-phone}}}
"""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from command_center.channel import Limits, Message, Receipt, cut
from command_center.channels._fence import fence
from telemetry.config import Secret
from telemetry.errors import Refused, Unavailable

if TYPE_CHECKING:
    import aiohttp

try:
    with warnings.catch_warnings(action="ignore"):  # of what its plug-ins import; they are loaded here, once
        import apprise

        apprise.NotificationManager().load_modules()  # type: ignore[no-untyped-call]
except ImportError as error:
    raise Refused(f"apprise is not installed ({error}); pip install 'yemai[apprise]'") from None

LIMITS = Limits(credentials=((10, 60.0),), most_bytes=2000)
TIMEOUT_S = 3.5
_AT_ONCE = 8
_OURS = {
    "wecombot": "wecom_robot", "wechat": "wecom_app", "wecom": "wecom_app", "dingtalk": "dingtalk_robot",
    "feishu": "feishu_robot", "lark": "feishu_robot", "mqtt": "mqtt", "mqtts": "mqtt", "mailto": "email",
    "mailtos": "email",
}  # fmt: skip
_HOLDER = "{address}"
for _name in ("apprise", "urllib3", "requests"):  # they write addresses, which hold secrets
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One target's apprise URL, a secret; ``private`` allows the district's own network."""

    url: Secret
    private: bool = False

    def __post_init__(self) -> None:
        """Check the URL without showing any of it; msgspec makes a ValueError one of the file and field."""
        url = self.url.reveal()
        if not url:  # checked where the secrets are not
            return
        scheme, colon, rest = url.partition("://")
        if not colon:
            raise ValueError("url: no apprise URL, such as ntfys://TOKEN@ntfy.example/TOPIC")
        if own := _OURS.get(scheme.lower()):
            raise ValueError(f"url: for '{scheme}' use kind '{own}', which reads the vendor's own receipt")
        if _HOLDER in rest.partition("/")[0]:
            raise ValueError(
                f"url: {_HOLDER} stands in the path, behind the host: nobody's address names a host"
            )
        service = service_of(url, "address")
        if service is None:
            raise ValueError(f"url: apprise cannot read this '{scheme}' URL, or lacks what it needs for it")
        if len(service) > 1:
            raise ValueError("url: it has several targets; give each its own channel")


def service_of(url: str, address: str) -> Any:
    """Return apprise's service for a URL, the address in its place, or None; it tries once and follows no redirect."""
    asset = apprise.AppriseAsset(
        storage_mode="memory", async_mode=False, service_timeout=2 * TIMEOUT_S, allow_templates=False
    )
    service = apprise.Apprise.instantiate(url.replace(_HOLDER, quote(address, safe="")), asset=asset)
    if service is None:
        return None
    service.retry, service.redirects, service.overflow_mode = 0, False, apprise.OverflowMode.TRUNCATE
    service.socket_connect_timeout = service.socket_read_timeout = (
        TIMEOUT_S + 1
    )  # so that it is we who give up
    return service


class Channel:
    """The address stands where the URL has ``{address}``."""

    def __init__(self, config: Config, _: aiohttp.ClientSession) -> None:
        self._config, self._free = config, threading.Semaphore(_AT_ONCE)

    async def send(self, message: Message, address: str) -> Receipt:
        """Send; a thread that takes longer is left to itself, and what it then still sends comes twice."""
        if not self._free.acquire(blocking=False):
            raise Unavailable(f"{_AT_ONCE} messages before this one have no answer yet")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Receipt] = loop.create_future()

        def tell(receipt: Receipt) -> None:
            if not answered.done():
                answered.set_result(receipt)

        def work() -> None:
            try:
                receipt = self._send(message, address)
            finally:
                self._free.release()
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(tell, receipt)

        threading.Thread(target=work, name="apprise", daemon=True).start()
        try:
            return await asyncio.wait_for(answered, TIMEOUT_S)
        except TimeoutError:
            raise Unavailable(f"no answer in {TIMEOUT_S:g} s") from None

    def _send(self, message: Message, address: str) -> Receipt:
        kind = apprise.NotifyType.WARNING if message.urgent else apprise.NotifyType.INFO
        title = cut(" ".join(message.title.split()), LIMITS.most_bytes // 4)
        text = cut(message.text, LIMITS.most_bytes - len(title.encode()))
        with fence(private=self._config.private) as fenced:
            try:
                service = service_of(self._config.url.reveal(), address)
                if service is None:
                    return Receipt("failed_perm", "address", "the address makes no URL that apprise can read")
                is_taken = service.notify(body=text or title, title=title, notify_type=kind)
            except Exception as error:  # noqa: BLE001 - a hundred plug-ins, whose words may hold the URL
                return Receipt("failed_temp", "apprise", f"it failed ({type(error).__name__})")
        if fenced.refused:
            return Receipt("failed_perm", "refused", fenced.refused)
        if is_taken:
            return Receipt("accepted", "taken")
        return Receipt("failed_temp", "not_taken", "apprise does not say why")
