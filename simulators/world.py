"""The world: weather, rain, traffic, day and night, and what each device would feel of them.

Everything is a function of ``(seed, device, metric, time)``, so that the same seed gives the same city
whenever it is asked, in whatever order.  Outside scenarios every value stays far from any limit that a rule
is likely to set.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CHINA_S = 8 * 3600
_DAY_S = 86_400


@lru_cache(maxsize=200_000)
def _lot(key: str, step: int) -> float:
    """Draw a number in [-1, 1) that belongs to this key and step for ever."""
    digest = hashlib.blake2b(f"{key}\0{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**63 - 1.0


def wobble(key: str, t_s: float, scale_s: float) -> float:
    """Return smooth noise in [-1, 1] that changes over about ``scale_s`` seconds."""
    place = t_s / scale_s
    step = math.floor(place)
    part = place - step
    part = part * part * (3 - 2 * part)
    return _lot(key, step) * (1 - part) + _lot(key, step + 1) * part


@dataclass(frozen=True)
class Scene:
    """The state of the city at one moment, as one device feels it."""

    seed: int
    device: str
    t_s: float

    def noise(self, name: str, scale_s: float) -> float:
        """Noise of this device alone."""
        return wobble(f"{self.seed}/{self.device}/{name}", self.t_s, scale_s)

    def common(self, name: str, scale_s: float) -> float:
        """Noise that all devices share: weather, not instruments."""
        return wobble(f"{self.seed}/{name}", self.t_s, scale_s)

    @property
    def hour(self) -> float:
        """Local time in China, 0 to 24."""
        return (self.t_s + _CHINA_S) % _DAY_S / 3600

    @property
    def sun(self) -> float:
        """0 at night, 1 at noon."""
        return max(0.0, math.sin(math.pi * (self.hour - 6) / 12))

    @property
    def is_dark(self) -> bool:
        """Whether the street lights are on."""
        return self.sun < 0.05

    @property
    def traffic(self) -> float:
        """0 to 1, with two rush hours."""
        rush = math.exp(-((self.hour - 8) ** 2) / 2) + math.exp(-((self.hour - 18) ** 2) / 3)
        return min(1.0, 0.15 + 0.5 * self.sun + 0.5 * rush + 0.1 * self.common("traffic", 300))

    @property
    def rain(self) -> float:
        """Rain in mm/h; most of the time there is none."""
        return max(0.0, 12 * (self.common("rain", 7200) - 0.35))

    @property
    def air_temperature(self) -> float:
        """In degC: season, day, weather."""
        season = 16 - 12 * math.cos(2 * math.pi * (self.t_s / _DAY_S - 20) / 365.25)
        return season + 4 * (self.sun - 0.4) + 2 * self.common("air", 10_800) - 0.2 * self.rain

    @property
    def charging(self) -> float:
        """Share of full power that a charger delivers; it goes in sessions of about half an hour."""
        return 0.8 if self.noise("session", 1800) > 0.1 else 0.0


def _mains(phase: str) -> Callable[[Scene], float]:
    return lambda s: 229 + 3 * s.common("mains", 600) + 0.8 * s.noise(phase, 7)


def _charge_current(phase: str) -> Callable[[Scene], float]:
    return lambda s: s.charging * 16 + (0.2 * s.noise(phase, 5) if s.charging else 0)


def _load_current(phase: str) -> Callable[[Scene], float]:
    return lambda s: 6 + 5 * s.traffic + 0.5 * s.noise(phase, 9)


def _rising(rate_per_s: float) -> Callable[[Scene], float]:
    return lambda s: (
        1000 + 500 * abs(_lot(f"{s.seed}/{s.device}/start", 0)) + rate_per_s * (s.t_s % (60 * _DAY_S))
    )


SIGNALS: dict[str, dict[str, Callable[[Scene], float]]] = {
    "lamp_pole_controller": {
        "supply_voltage": _mains("lamp"),
        "current": lambda s: (0.62 if s.is_dark else 0.05) + 0.01 * s.noise("i", 5),
        "active_power": lambda s: (138 if s.is_dark else 6) + 2 * s.noise("p", 5),
        "energy": _rising(2e-5),
        "lamp_on": lambda s: float(s.is_dark),
        "dimming": lambda s: 80.0 if s.is_dark else 0.0,
        "leakage_current": lambda s: 3 + s.noise("leak", 30),
        "tilt": lambda s: 0.6 + 0.2 * s.noise("tilt", 120),
    },
    "energy_meter": {
        **{f"voltage_l{n}": _mains(f"v{n}") for n in (1, 2, 3)},
        **{f"current_l{n}": _load_current(f"i{n}") for n in (1, 2, 3)},
        "active_power": lambda s: 4000 + 3300 * s.traffic + 60 * s.noise("p", 6),
        "reactive_power": lambda s: 900 + 300 * s.traffic + 20 * s.noise("q", 6),
        "power_factor": lambda s: 0.96 + 0.01 * s.noise("pf", 20),
        "frequency": lambda s: 50 + 0.03 * s.common("hz", 5),
        "import_energy": _rising(1.5e-3),
        "export_energy": lambda s: 0.0,  # noqa: ARG005 - nobody feeds in
    },
    "ev_charger": {
        **{f"voltage_l{n}": _mains(f"v{n}") for n in (1, 2, 3)},
        **{f"current_l{n}": _charge_current(f"i{n}") for n in (1, 2, 3)},
        "active_power": lambda s: s.charging * 11_000 + (30 * s.noise("p", 5) if s.charging else 4),
        "apparent_power": lambda s: s.charging * 11_200 + (30 * s.noise("p", 5) if s.charging else 4),
        "import_energy": _rising(2e-3),
        "temperature": lambda s: 24 + 0.3 * s.air_temperature + 14 * s.charging + 1.0 * s.noise("t", 60),
        "state_of_charge": lambda s: 55 + 30 * s.noise("soc", 3600),
        "vehicle_state": lambda s: 2.0 if s.charging else 0.0,
        "charging_enabled": lambda s: 1.0,  # noqa: ARG005 - until somebody says no
        "current_limit": lambda s: 16.0,  # noqa: ARG005 - the installation's
    },
    "weather_station": {
        "air_temperature": lambda s: s.air_temperature + 0.2 * s.noise("t", 20),
        "humidity": lambda s: min(
            98.0, 62 - 15 * s.sun + 4 * s.rain + 5 * s.common("rh", 3600) + 0.5 * s.noise("rh", 20)
        ),
        "pressure": lambda s: 1016 + 6 * s.common("p", 20_000),
        "wind_speed": lambda s: max(0.0, 2.5 + 1.5 * s.common("wind", 900) + 0.8 * s.noise("gust", 3)),
        "wind_direction": lambda s: (120 + 60 * s.common("dir", 3600) + 15 * s.noise("dir", 4)) % 360,
        "rain_rate": lambda s: s.rain,
        "rain_total": lambda s: 40.0 + s.rain,
        "illuminance": lambda s: 60_000 * s.sun + 2 + 500 * s.sun * s.noise("lx", 10),
    },
    "air_monitor": {
        "pm1_0": lambda s: 14 + 6 * s.traffic + 3 * s.common("pm", 1800) + 1.5 * s.noise("pm1", 4),
        "pm2_5": lambda s: 21 + 9 * s.traffic + 5 * s.common("pm", 1800) + 2.5 * s.noise("pm2", 4),
        "pm10": lambda s: 34 + 16 * s.traffic + 8 * s.common("pm", 1800) + 4 * s.noise("pm10", 4),
    },
    "noise_monitor": {"sound_level": lambda s: 41 + 9 * s.traffic + 3 * s.noise("dB", 1.0)},
    "water_quality": {
        "ph": lambda s: 7.4 + 0.2 * s.common("ph", 7200) + 0.01 * s.noise("ph", 20),
        "dissolved_oxygen": lambda s: 8.2 + 0.6 * s.sun + 0.05 * s.noise("do", 20),
        "conductivity": lambda s: 420 + 15 * s.common("ec", 3600) + 2 * s.noise("ec", 20),
        "turbidity": lambda s: 9 + 4 * s.rain + 0.5 * s.noise("ntu", 20),
        "water_temperature": lambda s: 0.6 * s.air_temperature + 7 + 0.05 * s.noise("t", 30),
        "redox_potential": lambda s: 240 + 10 * s.noise("orp", 300),
        "chlorophyll": lambda s: 4 + 0.5 * s.noise("chl", 300),
    },
    "soil_monitor": {
        "soil_moisture": lambda s: 31 + 1.5 * s.rain + s.noise("m", 600),
        "soil_temperature": lambda s: 0.5 * s.air_temperature + 8 + 0.2 * s.noise("t", 120),
        "ph": lambda s: 6.7 + 0.1 * s.noise("ph", 600),
        "conductivity": lambda s: 380 + 20 * s.noise("ec", 300),
        "nitrogen": lambda s: 42 + 2 * s.noise("n", 3600),
        "phosphorus": lambda s: 18 + 2 * s.noise("p", 3600),
        "potassium": lambda s: 95 + 3 * s.noise("k", 3600),
    },
    "electrical_fire_monitor": {
        "residual_current": lambda s: 62 + 18 * s.traffic + 6 * s.noise("ir", 4),
        **{
            f"cable_temperature_{n}": lambda s: (
                26 + 0.3 * s.air_temperature + 6 * s.traffic + 0.5 * s.noise("ct", 20)
            )
            for n in (1, 2, 3, 4)
        },
        "tripped": lambda s: 0.0,  # noqa: ARG005 - until something happens
    },
    "water_pressure": {
        "pressure": lambda s: 0.34 - 0.03 * s.traffic + 0.006 * s.noise("p", 10),
        "water_temperature": lambda s: 0.4 * s.air_temperature + 9,
        "battery_voltage": lambda s: 3.58 + 0.005 * s.noise("bat", 600),
        "signal_quality": lambda s: round(19 + 3 * s.noise("csq", 60)),
    },
    "water_level": {
        "level": lambda s: 3.1 + 0.25 * s.noise("level", 900) + 0.01 * s.noise("wave", 4),
        "water_temperature": lambda s: 0.4 * s.air_temperature + 9,
        "battery_voltage": lambda s: 3.58 + 0.005 * s.noise("bat", 600),
    },
    "gas_detector": {"combustible": lambda s: 1.2 + 0.8 * s.noise("gas", 8), "fault": lambda s: 0.0},  # noqa: ARG005
    "smoke_detector": {"smoke_alarm": lambda s: 0.0, "fault": lambda s: 0.0},  # noqa: ARG005
    "manhole_cover": {
        "cover_state": lambda s: 0.0,  # noqa: ARG005 - closed
        "tilt": lambda s: 1.0 + 0.5 * s.noise("tilt", 60),
        "water_distance": lambda s: (
            1900 + 120 * s.common("sewer", 1800) - 30 * s.rain + 10 * s.noise("d", 10)
        ),
        "air_temperature": lambda s: 0.4 * s.air_temperature + 10,
        "battery": lambda s: round(88 + 4 * _lot(f"{s.seed}/{s.device}/bat", 0)),
        "signal_quality": lambda s: round(17 + 4 * s.noise("csq", 60)),
    },
    "pipe_flow": {
        "flow_rate": lambda s: 46 + 30 * s.traffic + 2 * s.noise("q", 6),
        "flow_velocity": lambda s: 0.65 + 0.42 * s.traffic + 0.03 * s.noise("q", 6),
        "total_volume": _rising(0.015),
        "water_temperature": lambda s: 0.4 * s.air_temperature + 9,
        "valve_open": lambda s: 1.0,  # noqa: ARG005 - until it is told otherwise
        "battery_voltage": lambda s: 3.58 + 0.005 * s.noise("bat", 600),
        "signal_quality": lambda s: round(18 + 3 * s.noise("csq", 60)),
    },
    "led_screen": {
        "screen_on": lambda s: 1.0,  # noqa: ARG005 - day and night
        "brightness": lambda s: 30 + 60 * s.sun,
        "temperature": lambda s: 20 + 0.8 * s.air_temperature + 10 * s.sun,
    },
}


def value(seed: int, device: str, device_class: str, metric: str, t_ms: int) -> float | None:
    """Return what ``device`` would measure at ``t_ms`` (UTC ms), in the class's unit.

    None for a metric that this world does not feel.
    """
    signal = SIGNALS.get(device_class, {}).get(metric)
    return None if signal is None else signal(Scene(seed, device, t_ms / 1000))
