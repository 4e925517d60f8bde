"""``yemai center forget-codes``: the way on when the key of the codes' secrets is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from command_center.config import load_config
from command_center.people import links, sealing, users
from command_center.store import Store
from telemetry.clock import SystemClock
from telemetry.errors import ConfigError, Refused

if TYPE_CHECKING:
    from pathlib import Path

    from command_center.audit import Act


async def forget(config: Path, act: Act) -> list[str]:
    """Reset everybody whose secret nothing opens any more; return a line with each one's new link.

    Raises :class:`Refused` while the key is there and right.
    """
    loaded, now = load_config(config), SystemClock().now_ms()
    async with Store(loaded.desk.url) as store:
        try:
            await sealing.ready(store, loaded.codes_key)
        except ConfigError:
            if loaded.codes_key.exists():
                sealing.read(loaded.codes_key)  # a mode to be mended is no lost key
        else:
            raise Refused(f"nothing is lost: {loaded.codes_key} opens the secret of everybody")
        async with store.change() as db:
            await links.forget_secrets(db)
            lost = [user for user in await users.everyone(db) if user.totp]
            tokens = {user: await links.reset(db, user.login, act, now) for user in lost}
    page = loaded.page.address
    return [
        f"{user.login}\t{links.address(page, 'enrol', token)}"
        for user, token in tokens.items()
        if user.active
    ]
