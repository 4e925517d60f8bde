"""An InfluxQL query as Grafana keeps it in a panel: the one data source that the builder library has no type for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders.prometheus import Dataquery as PromQuery
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

if TYPE_CHECKING:
    from dashboards.queries import Query


@dataclass(frozen=True)
class InfluxQuery(Dataquery):
    """The model of a query in raw mode (Grafana, ``public/app/plugins/datasource/influxdb/types.ts``)."""

    uid: str
    ref: str
    query: Query

    def to_json(self) -> dict[str, object]:
        """Return what the board's JSON holds."""
        return {
            "datasource": {"type": "influxdb", "uid": self.uid},
            "refId": self.ref,
            "query": self.query.text,
            "rawQuery": True,
            "resultFormat": self.query.format,
            **({"alias": self.query.alias} if self.query.alias else {}),
        }


class Target(Builder[Dataquery]):
    """A builder around a query that is built already."""

    def __init__(self, query: Dataquery) -> None:
        self._query = query

    def build(self) -> Dataquery:
        """Return the query."""
        return self._query


def influx(uid: str, place: int, query: Query) -> Target:
    """Return the query as the panel's ``place``-th, counted from 0."""
    return Target(InfluxQuery(uid, ref_id(place), query))


def prometheus(uid: str, place: int, expression: str, legend: str) -> PromQuery:
    """Return a PromQL query as the panel's ``place``-th."""
    source = DataSourceRef(type_val="prometheus", uid=uid)
    return PromQuery().datasource(source).ref_id(ref_id(place)).expr(expression).legend_format(legend).range()


def ref_id(place: int) -> str:
    """Return Grafana's letter for a query.

    >>> ref_id(0), ref_id(25), ref_id(26)
    ('A', 'Z', 'AA')
    """
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
