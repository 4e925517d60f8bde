"""``yemai rules backtest``: a pack over stored history, as a table and a picture."""

from __future__ import annotations

import contextlib
import datetime as dt
import html
import sys
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from cloud_ingest.config import load_config
from cloud_ingest.judging import topology_of
from cloud_ingest.registry.keeper import Keeper
from device_profiles.vocabulary import load_classes
from rules.backtest import backtest
from rules.topology import Spot, Topology
from telemetry.clock import SystemClock
from telemetry.errors import ConfigError, Refused
from yemai.history import FromApi, FromStore, days, frames
from yemai.rulebook import find_pack
from yemai.words import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rules.backtest import Report, WhatIf
    from rules.frame import Frame
    from yemai.history import Source

_BEIJING = dt.timezone(dt.timedelta(hours=8))
_SHOWN = 20


class Asked(NamedTuple):
    """What the command line says."""

    pack: str
    begin: str
    end: str
    config: Path | None
    api: str
    token: str
    devices: Sequence[str]
    limits: Sequence[float]
    plot: Path | None
    as_json: bool


def run(asked: Asked) -> int:
    """Run it and print what it found."""
    pack, classes = find_pack(asked.pack), load_classes()
    span = _moment("--from", asked.begin), _moment("--to", asked.end)
    if span[0] >= span[1]:
        raise Refused(f"--from {asked.begin} is not before --to {asked.end}")
    source, devices, topology = _source(asked, pack.device_class)
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(say("读取并判断", "reading and judging"), total=2 * len(days(span)))

        def history() -> Iterator[Frame]:
            for frame in frames(source, classes[pack.device_class], devices, span):
                yield frame
                progress.advance(task)

        report = backtest(pack, classes, history, topology, limits=asked.limits)
    if asked.as_json:
        print(msgspec.json.encode(report).decode())  # noqa: T201 - the result
    else:
        _print(report)
    if asked.plot is not None and not report.what_if:
        console.print(say("没有可以改变的阈值，不作图", "no picture: no rule has a limit that can be varied"))
    elif asked.plot is not None:
        asked.plot.write_text(picture(report), encoding="utf-8")
        console.print(say(f"图: {asked.plot}", f"picture: {asked.plot}"), markup=False)
    return 0


def _source(asked: Asked, device_class: str) -> tuple[Source, list[str], Topology]:
    if asked.api:
        api = FromApi(asked.api, asked.token)
        told = api.devices(device_class)
        spots = {d["id"]: Spot(d.get("agent", ""), "", d.get("site", ""), "area", 0.0) for d in told}
        return api, _chosen(asked, list(spots), device_class), Topology(spots)
    if asked.config is None:
        raise Refused(say("须给出 --config 或 --api", "give --config (of ingest) or --api"))
    config = load_config(asked.config)
    keeper = Keeper(config.registry, config.producer, SystemClock())
    with contextlib.redirect_stdout(sys.stderr):  # what it logs is no part of the result
        try:
            registry = keeper.open()
        finally:
            keeper.close()
    known = [d.id for d in registry.devices.values() if d.device_class == device_class]
    store = config.store.module.Store(config.store.config, load_classes(), lambda _: {})
    return FromStore(store), _chosen(asked, known, device_class), topology_of(registry, config.area)


def _chosen(asked: Asked, known: list[str], device_class: str) -> list[str]:
    unknown = [name for name in asked.devices if name not in known]
    if unknown:
        raise Refused(f"no device '{unknown[0]}' of class '{device_class}' is registered")
    if not known:
        raise Refused(f"no device of class '{device_class}' is registered")
    return list(asked.devices) or known


def _moment(option: str, text: str) -> int:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(option, "$", f"'{text}' is no date", hint="write it like 2026-11-01") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=_BEIJING)).timestamp() * 1000)


def _print(report: Report) -> None:
    console = Console()
    when = f"{_day(report.begins)} – {_day(report.ends)}"
    console.print(
        say(
            f"{report.devices} 台设备, {report.samples} 个样本, {when}",
            f"{report.devices} devices, {report.samples} samples, {when}",
        )
    )
    table = Table(Column("rule", no_wrap=True), say("次数", "episodes"), say("设备", "devices"), say("每台每月", "per device-month"),
                  say("中位时长", "median"), say("最长", "longest"), say("占时", "of the time"))  # fmt: skip
    for s in report.summaries:
        table.add_row(s.rule, str(s.episodes), str(s.devices), f"{s.per_device_month:g}", _long(s.median_s),
                      _long(s.longest_s), f"{s.share:.4%}")  # fmt: skip
    console.print(table)
    episodes = Table(
        say("开始", "began"),
        say("时长", "lasted"),
        say("等级", "severity"),
        say("设备", "device"),
        Column("rule", no_wrap=True),
    )
    for e in report.episodes[-_SHOWN:]:
        lasted = say("未结束", "not ended") if e.ended is None else _long((e.ended - e.began) / 1000)
        episodes.add_row(_day(e.began), lasted, e.worst.name.lower(), e.device, e.rule)
    if report.episodes:
        console.print(say(f"最近 {_SHOWN} 次", f"the latest {_SHOWN} episodes"))
        console.print(episodes)
    if report.what_if:
        console.print(say("若阈值为…", "what a limit of … would have given"))
        others = Table(
            "rule", say("阈值", "limit"), say("现为", "is now"), say("次数", "episodes"), say("小时", "hours")
        )
        for w in report.what_if:
            others.add_row(w.rule, f"{w.limit:g}", w.colour, str(w.episodes), f"{w.hours:g}")
        console.print(others)
    if report.left_out:
        console.print(
            say("历史中无法判断: ", "history cannot tell of ") + ", ".join(report.left_out), style="dim"
        )


def picture(report: Report) -> str:
    """Return an SVG: for each rule with limits, episodes over the limit, its own limits marked."""
    rules = list(dict.fromkeys(w.rule for w in report.what_if))
    width, high, left = 720, 200, 60
    parts = [_panel([w for w in report.what_if if w.rule == rule], rule, n * high, left, width, high)
             for n, rule in enumerate(rules)]  # fmt: skip
    size = f'width="{width}" height="{max(1, len(rules)) * high}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _panel(tried: Sequence[WhatIf], rule: str, top: int, left: int, width: int, high: int) -> str:
    low, most = tried[0].limit, max(w.episodes for w in tried) or 1
    across = (tried[-1].limit - low) or 1.0
    spots = [
        (
            left + (width - 2 * left) * (w.limit - low) / across,
            top + high - 40 - (high - 80) * w.episodes / most,
            w,
        )
        for w in tried
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in spots)
    colours = {"blue": "#1f6fd0", "yellow": "#c9a400", "orange": "#e07000", "red": "#c02020", "": "#555555"}
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{5 if w.colour else 3}" fill="{colours[w.colour]}"/>'
        f'<text x="{x:.1f}" y="{top + high - 22}" text-anchor="middle">{w.limit:g}</text>'
        f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle" fill="#555">{w.episodes}</text>'
        for x, y, w in spots
    )
    return (
        f'<text x="{left}" y="{top + 18}" font-weight="bold">{html.escape(rule)}</text>'
        f'<polyline points="{line}" fill="none" stroke="#888"/>{marks}'
    )


def _day(ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(ms / 1000, _BEIJING):%Y-%m-%d %H:%M}"


def _long(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
