"""An hour of a simulated district in a real InfluxDB, written by the store that production uses."""

from __future__ import annotations

from cloud_ingest.stores import influxdb
from device_profiles.vocabulary import Kind, load_classes
from rules.frame import Columns
from rules.pack import load_packs
from simulators import world
from telemetry.quality import Quality
from telemetry.readings import Reading

CLASSES = load_classes()
STREETS = {"s01": "皖西大道", "s02": "沿河路"}
DEVICES = ("calm", "odd", "roaming")
"""At each site and of each class: one that is well, one with troubles, one that passes limits and visits all codes."""
STEP_MS = 30_000
SPAN = (1_764_000_000_000, 1_764_003_600_000)


def device(device_class, site, kind):
    return f"{device_class}-{site}-{kind}"


def tags(name):
    _, site, _ = name.rsplit("-", 2)
    return {"area": "yeji", "street": STREETS[site], "site": site, "profile": "simulated"}


def truth(device_class, site, metric, at_ms):
    """What the calm device says."""
    name = device(device_class.name, site, "calm")
    felt = world.value(7, name, device_class.name, metric.name, at_ms)
    return felt if felt is not None else round(metric.low + 0.3 * (metric.high - metric.low))


def fill(url, database):
    """Write the hour."""
    store = influxdb.Store(influxdb.Config(url, database), CLASSES, tags)
    try:
        store.check()
        rules = {pack.device_class: pack.rules for pack in load_packs()}
        frames = [_frame(of, rules.get(of.name, ())) for of in CLASSES.values()]
        written = store.write(frames, [[1] * len(frame) for frame in frames], SPAN[0])
        assert not written.rejected
    finally:
        store.close()


def _frame(of, rules):
    columns = Columns(of)
    for number, at in enumerate(range(SPAN[0], SPAN[1], STEP_MS)):
        for site in STREETS:
            calm = {metric.name: truth(of, site, metric, at) for metric in of.metrics.values()}
            columns.add(Reading(device(of.name, site, "calm"), at, calm))
            columns.add(_odd(of, site, at, calm, number), shift=-7000 if number == 40 else 0)
            roaming = {m.name: _roam(m, rules, calm[m.name], number) for m in of.metrics.values()}
            columns.add(Reading(device(of.name, site, "roaming"), at, roaming))
    return columns.frame()


def _odd(of, site, at, calm, number):
    """Silent for ten minutes, implausible for a while, else well."""
    name = device(of.name, site, "odd")
    if 20 <= number < 40:
        return Reading(name, at, dict.fromkeys(calm), dict.fromkeys(calm, Quality.NO_ANSWER))
    if number >= 100:
        beyond = {metric.name: metric.high + 1 for metric in of.metrics.values()}
        return Reading(name, at, beyond, dict.fromkeys(calm, Quality.IMPLAUSIBLE))
    return Reading(name, at, calm)


def _roam(metric, rules, calm, number):
    """Visit every code of a state, and the far side of every limit."""
    if metric.kind is Kind.STATE:
        codes = list(metric.states)
        return float(codes[number // 2 % len(codes)])
    edges = [
        limit + (0.01 if rule.way in ("above", "at_least") else -0.01) * (abs(limit) or 1)
        for rule in rules
        if rule.metric == metric.name and rule.way and rule.way != "equals"
        for limit in rule.limits.values()
    ]
    return edges[number // 2 % len(edges)] if edges and number % 2 else calm
