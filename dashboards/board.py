"""What every board has: name, variables, links; and the world that boards are made from."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import msgspec
from grafana_foundation_sdk.builders.dashboard import (
    ConstantVariable,
    Dashboard,
    DashboardLink,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.limits import code_severities, steps
from dashboards.queries import PLACE_TAGS, tag_values
from device_profiles.loading import load_catalogue
from device_profiles.vocabulary import DeviceClass, Kind, Metric, load_classes
from rules.pack import Rule, load_packs
from telemetry.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dashboards.limits import Step
    from dashboards.look import Look
    from telemetry.severity import Severity

PLACES = {
    "area": Text("片区", "Area"),
    "street": Text("街道", "Street"),
    "site": Text("站点", "Site"),
    "device": Text("设备", "Device"),
}
_ALL = ".*"
_SLOWEST_PERIOD_S = 60.0


class Subject(msgspec.Struct, frozen=True):
    """A class as boards see it; ``period_s`` is the shortest in which any of its profiles is read."""

    of: DeviceClass
    rules: tuple[Rule, ...]
    period_s: float

    @property
    def name(self) -> str:
        """The class's name, which is that of its measurement."""
        return self.of.name

    def kinds(self, *wanted: Kind) -> list[Metric]:
        """Return the metrics of these kinds."""
        return [metric for metric in self.of.metrics.values() if metric.kind in wanted]

    def steps(self, metric: Metric) -> list[Step]:
        """Return the limits of a metric."""
        return steps(self.rules, metric.name)

    def bad_codes(self, metric: Metric) -> dict[int, Severity]:
        """Return the codes of a state that a rule minds."""
        return code_severities(self.rules, metric.name)


class Board(msgspec.Struct, frozen=True):
    """A board that is done but for being written down; ``uid`` is its name in Grafana."""

    uid: str
    builder: Dashboard


@cache
def subjects() -> tuple[Subject, ...]:
    """Return all classes with their rules and periods; read once."""
    rules: Mapping[str, tuple[Rule, ...]] = {pack.device_class: pack.rules for pack in load_packs()}
    periods: dict[str, float] = {}
    for profile in load_catalogue().values():
        known = periods.get(profile.device_class, profile.timing.period_s)
        periods[profile.device_class] = min(known, profile.timing.period_s)
    return tuple(
        Subject(of, rules.get(name, ()), periods.get(name, _SLOWEST_PERIOD_S))
        for name, of in load_classes().items()
    )


def start(
    look: Look, uid: str, title: str, *, note: str, places: Sequence[str] = PLACE_TAGS, single: str = "",
    measurement: str = "",
) -> Dashboard:  # fmt: skip
    """Return an empty board with a variable for each of ``places``, of which ``single`` takes one value only."""
    board = (
        Dashboard(title).uid(uid).description(note).tags([look.tag]).timezone("browser").readonly()
        .time("now-6h", "now").refresh("1m").tooltip(DashboardCursorSync.CROSSHAIR)
        .link(_boards(look)).link(_center(look))
        .with_variable(ConstantVariable("center").value(look.center))
    )  # fmt: skip
    for at, tag in enumerate(places):
        board.with_variable(_place(look, tag, places[:at], measurement, one=tag == single))
    return board


def row(title: str, *, collapsed: bool = False) -> Row:
    """Return a heading; a collapsed one asks the store nothing until it is opened."""
    return Row(title).collapsed(collapsed)


def per_metric(metrics: Iterable[Metric], look: Look) -> dict[str, str]:
    """Return title → metric, as the columns of a table."""
    return {look.pick(metric.label): metric.name for metric in metrics}


def _place(look: Look, tag: str, within: Sequence[str], measurement: str, *, one: bool) -> QueryVariable:
    variable = (
        QueryVariable(tag).label(look.pick(PLACES[tag]))
        .datasource(DataSourceRef(type_val="influxdb", uid=look.influx))
        .query(tag_values(tag, measurement=measurement, within=within))
        .refresh(VariableRefresh.ON_DASHBOARD_LOAD).sort(VariableSort.ALPHABETICAL_ASC)
    )  # fmt: skip
    if not one:
        variable.multi(True).include_all(True).all_value(_ALL).current(
            VariableOption(selected=True, text=["All"], value=["$__all"])
        )
    return variable


def _boards(look: Look) -> DashboardLink:
    return (
        DashboardLink(look.say("全部看板", "All boards")).type(DashboardLinkType.DASHBOARDS).tags([look.tag])
        .as_dropdown(True).keep_time(True).include_vars(True)
    )  # fmt: skip


def _center(look: Look) -> DashboardLink:
    return (
        DashboardLink(look.say("指挥中心", "Command centre")).type(DashboardLinkType.LINK)
        .url("${center}/").icon("external link").target_blank(True)
    )  # fmt: skip
