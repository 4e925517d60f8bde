"""Waiting for a condition, with a deadline, instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect


async def wait_until(holds, within_s=10.0, what="the condition"):
    """Return what ``holds()`` returned once it is true; TimeoutError after ``within_s`` seconds."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                answer = holds()
                if inspect.isawaitable(answer):
                    answer = await answer
                if answer:
                    return answer
                await asyncio.sleep(0.02)
    except TimeoutError:
        msg = f"waited {within_s:g} s in vain for {what}"
        raise TimeoutError(msg) from None
