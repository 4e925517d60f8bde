"""The demo's processes, in starting order; they stop in reverse."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import aiohttp

from simulators.vendors import SECRET
from yemai.demo.broker import answers, broker_command
from yemai.demo.supervisor import Service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from yemai.demo.plan import Plan


def services(plan: Plan) -> list[Service]:
    """Return the broker, the simulators, ingest, the centre and one process an agent."""
    python = sys.executable
    return [
        Service(
            "broker",
            broker_command(plan.folder / "broker", plan.broker_port),
            lambda: answers(plan.broker_port),
        ),
        Service(
            "simulators",
            [python, "-m", "simulators", "--run-file", str(plan.run_file)],
            _serves(f"{plan.simulators_url}/status"),
        ),
        Service(
            "vendors",
            [
                python,
                "-m",
                "simulators.vendors",
                "--port",
                plan.vendors_url.rsplit(":", 1)[1],
                "--reports",
                f"{plan.page_url}/api/receipts/sms/{SECRET}",
            ],
            _serves(f"{plan.vendors_url}/told"),
        ),
        Service(
            "ingest",
            [python, "-m", "cloud_ingest", "--config", str(plan.ingest)],
            _serves(f"{plan.data_url}/api/health/live"),
        ),
        Service(
            "center",
            [python, "-m", "command_center", "--config", str(plan.center)],
            _serves(f"{plan.page_url}/api/health/live"),
        ),
        *(
            Service(agent, [python, "-m", "edge_agent", "--config", str(config)])
            for agent, config in plan.agents.items()
        ),
    ]


def _serves(url: str) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http,
                http.get(url) as answer,
            ):
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return ask
