"""Pages in a real browser, and what a test sees of them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright import sync_api

    from tests.command_center.fake_centre import FakeCentre

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SIZES = {"wall": (3840, 2160), "desk": (1440, 900), "phone": (390, 844)}


@dataclass
class Screen:
    """One open page, what its console said and whom it asked."""

    page: sync_api.Page
    complaints: list[str] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)

    def count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def wait_for(self, selector: str, *, ms: int = 30_000) -> sync_api.Locator:
        found = self.page.locator(selector).first
        found.wait_for(state="visible", timeout=ms)
        return found


@contextmanager
def opened(
    browser: sync_api.Browser, centre: FakeCentre, size: str = "desk", query: str = "", before: str = ""
) -> Iterator[Screen]:
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    screen = Screen(context.new_page())
    screen.page.on(
        "console",
        lambda said: screen.complaints.append(said.text) if said.type in {"error", "warning"} else None,
    )
    screen.page.on("pageerror", lambda error: screen.complaints.append(str(error)))
    screen.page.on("request", lambda asked: screen.origins.add("/".join(asked.url.split("/")[:3]) + "/"))
    if before:
        screen.page.add_init_script(before)
    screen.page.goto(centre.url + query)
    screen.wait_for('.page[data-link="live"]')
    try:
        yield screen
    finally:
        context.close()
