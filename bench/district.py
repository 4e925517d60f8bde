"""A district for benchmarks: devices of real profiles behind agents, quiet but for the fires that are lit."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from device_profiles.loading import load_catalogue
from device_profiles.vocabulary import load_classes
from rules.engine import Engine
from rules.frame import Frame
from rules.pack import load_packs
from rules.state import State
from telemetry.codecs import json
from telemetry.readings import AgentId, DeviceId, MetricName, Reading, Upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from device_profiles.profile import Profile
    from rules.pack import Rule

_START_MS = 1_764_000_000_000
_NOW, _SEQ = 2_222_222_222_222, 1_111_111_111_111  # in a form, to be filled in
AREA, BOOT = "bench", "b"
DISTRICT = (
    "eastron_sdm630", "heidelberg_energy_control", "eastron_sdm630", "phoenix_charx_sec", "cwt_uwd",
    "eastron_sdm630", "mennekes_amtron_compact", "eastron_sdm630", "yosemitech_y4000", "cwt_soil_npkphcth_s",
)  # fmt: skip
"""Ten values a device on average."""
FIRE = (MetricName("temperature"), 120.0, "ev_charger.overheat")
"""A metric, a value for it, and the rule that must see it."""


class _Device(NamedTuple):
    id: DeviceId
    profile: Profile
    quiet: dict[MetricName, float | None]


class District:
    """``devices`` devices behind ``agents`` agents; device n is behind agent n modulo ``agents``."""

    def __init__(
        self, devices: int, agents: int, profiles: tuple[str, ...] = DISTRICT, most_values: int = 99
    ) -> None:
        catalogue = load_catalogue()
        quiet = {name: _quiet(catalogue[name], most_values) for name in set(profiles)}
        self.agents = [f"agent-{n:04}" for n in range(agents)]
        self.devices = [
            _Device(DeviceId(f"d{n:06}"), catalogue[name], quiet[name])
            for n, name in ((n, profiles[n // agents % len(profiles)]) for n in range(devices))
        ]
        self._seqs = [0] * agents
        self._forms: dict[tuple[int, tuple[int, ...], bool], tuple[bytes, int]] = {}

    def write_registry(self, folder: Path) -> None:
        """Write ``sites.csv`` and ``devices.csv``."""
        (folder / "sites.csv").write_text(
            "site,name_zh,name_en,street,lon,lat,department\ns1,站,Site,路,115.92,31.85,市政\n", "utf-8"
        )
        rows = [
            f"{device.id},设备,Device,{device.profile.id},{self.agents[n % len(self.agents)]},s1,115.92,31.85,市政"
            for n, device in enumerate(self.devices)
        ]
        head = "device,name_zh,name_en,profile,agent,site,lon,lat,owner"
        (folder / "devices.csv").write_text("\n".join([head, *rows, ""]), "utf-8")

    def upload(
        self, agent: int, devices: list[int], now_ms: int, *, fire: bool = False
    ) -> tuple[str, bytes, int]:
        """Return ``(agent, payload, samples)`` of the agent's next upload; ``fire`` sets its first device alight."""
        self._seqs[agent] += 1
        payload, samples = self.payload(agent, tuple(devices), self._seqs[agent], now_ms, fire)
        return self.agents[agent], payload, samples

    def payload(
        self, agent: int, devices: tuple[int, ...], seq: int, now_ms: int, fire: bool = False  # noqa: FBT001, FBT002
    ) -> tuple[bytes, int]:  # fmt: skip
        """Return one upload and its samples, written once and then filled in: a fleet must cost little."""
        form = self._forms.get((agent, devices, fire))
        if form is None:
            readings = [Reading(self.devices[n].id, _NOW, self.devices[n].quiet) for n in devices]
            if fire:
                burning = {**readings[0].values, FIRE[0]: FIRE[1]}
                readings[0] = msgspec.structs.replace(readings[0], values=burning)
            upload = Upload(AgentId(self.agents[agent]), BOOT, _SEQ, _NOW, tuple(readings))
            form = self._forms[agent, devices, fire] = (json.encode(upload), upload.sample_count)
        text, samples = form
        return text.replace(b"%d" % _NOW, b"%d" % now_ms).replace(b"%d" % _SEQ, b"%d" % seq), samples

    def past(self, agent: int, uploads: int, a_message: int, span_ms: tuple[int, int]) -> Past:
        """Return ``uploads`` that an agent has not been able to send; they have the next seqs."""
        first = self._seqs[agent] + 1
        self._seqs[agent] += uploads
        mine = range(agent, len(self.devices), len(self.agents))
        return Past(self, agent, (first, uploads), mine, a_message, span_ms)

    def last_seq(self, agent: int) -> int:
        """Return the seq of the upload that an agent has made last."""
        return self._seqs[agent]

    def rounds(self, a_message: int = 1) -> Iterator[tuple[int, list[int]]]:
        """Return ``(agent, devices)`` for one upload after the other, round the whole district for ever."""
        agents, count = len(self.agents), len(self.devices)
        mine = [list(range(agent, count, agents)) for agent in range(agents)]
        turn = 0
        while True:
            for agent in range(agents):
                have = mine[agent]
                yield agent, [have[(turn * a_message + n) % len(have)] for n in range(a_message)]
            turn += 1


class Past:
    """What an agent holds of an outage, the oldest first; made as it is sent."""

    def __init__(
        self, district: District, agent: int, seqs: tuple[int, int], devices: range, a_message: int,
        span_ms: tuple[int, int],
    ) -> None:  # fmt: skip
        self._district, self._agent, (self._first, self._uploads) = district, agent, seqs
        self._devices, self._a_message, self._span = devices, a_message, span_ms
        self._sent = 0
        self.samples = 0

    def __len__(self) -> int:
        return self._uploads - self._sent

    def popleft(self) -> tuple[int, bytes]:
        """Return the seq and the payload of the next."""
        n, (begin, end) = self._sent, self._span
        at = begin + (end - begin) * n // self._uploads
        some = tuple(
            self._devices[(n * self._a_message + place) % len(self._devices)]
            for place in range(self._a_message)
        )
        payload, samples = self._district.payload(self._agent, some, self._first + n, at)
        self._sent += 1
        self.samples += samples
        return self._first + n, payload


def _quiet(profile: Profile, most: int) -> dict[MetricName, float | None]:
    """Return values that no rule minds, also when they last."""
    metrics = load_classes()[profile.device_class].metrics
    calm: dict[MetricName, float | None] = {}
    for name in list(profile.metrics)[:most]:
        metric = metrics[name]
        for share in (0.1, 0.0, 0.3, 0.5, 0.02, 0.7, 0.9, 0.04, 1.0):
            calm[MetricName(name)] = round(metric.low + share * (metric.high - metric.low), 2)
            if not _is_minded(calm, profile.device_class):
                break
        else:
            raise ValueError(f"no calm value for {profile.device_class}.{name}")
    return calm


@lru_cache(1)
def _rules() -> list[tuple[str, Rule]]:
    return [(pack.device_class, rule) for pack in load_packs() for rule in pack.rules]


def _is_minded(values: dict[MetricName, float | None], device_class: str) -> bool:
    engine, state = _engine(), State.empty()
    for minute in range(0, 180, 5):
        now = _START_MS + 60_000 * minute
        frame = Frame.of([Reading(DeviceId("d"), now, dict(values))], load_classes()[device_class])
        state, found = engine.evaluate(state, frame, now)
        if found:
            return True
    return False


@lru_cache(1)
def _engine() -> Engine:
    """Return the default rules that judge values by limits; what merely rests is none of a bench's business."""
    packs = [
        msgspec.structs.replace(pack, rules=tuple(rule for rule in pack.rules if rule.way or rule.when))
        for pack in load_packs()
    ]
    return Engine(packs, load_classes())
