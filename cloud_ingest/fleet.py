"""What the agents tell of themselves, handed on at ``/metrics`` for the board of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cloud_ingest.source import Source


class Fleet(Collector):
    """Asks the source at each scrape; an agent that is gone keeps its last figures beside ``online`` 0."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return one gauge for presence and one for all figures, which carry their unit in their name."""
        online = GaugeMetricFamily("yemai_agent_online", "Whether the agent is connected", labels=["agent"])
        figure = GaugeMetricFamily("yemai_agent_figure", "An agent's own figure", labels=["agent", "name"])
        for status in self._source.agents():
            online.add_metric([status.agent], float(status.online))
            for name, value in status.metrics.items():
                figure.add_metric([status.agent, name], value)
        yield online
        yield figure
