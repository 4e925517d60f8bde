"""Coordinates: GCJ-02 and BD-09 to WGS-84, once, when they come in.

GCJ-02 (the "Mars coordinates" of maps published in China) shifts WGS-84 by 100 to 700 m with a formula that the state does
not publish; the one here is the reverse-engineered one that map software has agreed on since 2010 (public domain:
github.com/googollee/eviltransform), on the Krasovsky 1940 ellipsoid.  BD-09 is Baidu's further shift of GCJ-02, as
Baidu's own conversion service answers it.  Neither has a closed inverse: :func:`to_wgs84` iterates until it is right to
a millimetre.  Outside the rectangle around China GCJ-02 is WGS-84.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

from cloud_ingest.registry.model import Datum

if TYPE_CHECKING:
    from collections.abc import Callable

DATUMS: dict[str, Datum] = {name: name for name in get_args(Datum)}
_A = 6_378_245.0  # m, the semi-major axis of Krasovsky 1940
_EE = 0.006_693_421_622_965_943  # its first eccentricity, squared
_BD = math.pi * 3000.0 / 180.0
_CLOSE = 1e-9  # degrees: a tenth of a millimetre
_MOST_ROUNDS = 30

Place = tuple[float, float]
"""Longitude and latitude in degrees."""


def in_china(lon: float, lat: float) -> bool:
    """Return whether a place lies in the rectangle that GCJ-02 is defined on."""
    return 72.004 <= lon <= 137.8347 and 0.8293 <= lat <= 55.8271


def to_wgs84(lon: float, lat: float, datum: Datum) -> Place:
    """Return a place in WGS-84, to 7 decimals (1 cm).

    >>> to_wgs84(116.404, 39.915, "wgs84")
    (116.404, 39.915)
    """
    if datum == "gcj02":
        lon, lat = _inverse(gcj02_of, lon, lat)
    elif datum == "bd09":
        lon, lat = _inverse(gcj02_of, *_inverse(bd09_of, lon, lat))
    return round(lon, 7), round(lat, 7)


def gcj02_of(lon: float, lat: float) -> Place:
    """Return a WGS-84 place in GCJ-02."""
    if not in_china(lon, lat):
        return lon, lat
    x, y = lon - 105.0, lat - 35.0
    common = 20.0 * math.sin(6.0 * x * math.pi) + 20.0 * math.sin(2.0 * x * math.pi)
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * math.sqrt(abs(x))
    north += (common + 20.0 * math.sin(y * math.pi) + 40.0 * math.sin(y * math.pi / 3.0)) * 2.0 / 3.0
    north += (160.0 * math.sin(y * math.pi / 12.0) + 320.0 * math.sin(y * math.pi / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * math.sqrt(abs(x))
    east += (common + 20.0 * math.sin(x * math.pi) + 40.0 * math.sin(x * math.pi / 3.0)) * 2.0 / 3.0
    east += (150.0 * math.sin(x * math.pi / 12.0) + 300.0 * math.sin(x * math.pi / 30.0)) * 2.0 / 3.0
    phi = math.radians(lat)
    w = 1.0 - _EE * math.sin(phi) ** 2
    north = math.degrees(north * w * math.sqrt(w) / (_A * (1.0 - _EE)))
    east = math.degrees(east * math.sqrt(w) / (_A * math.cos(phi)))
    return lon + east, lat + north


def bd09_of(lon: float, lat: float) -> Place:
    """Return a GCJ-02 place in BD-09."""
    radius = math.hypot(lon, lat) + 0.00002 * math.sin(lat * _BD)
    angle = math.atan2(lat, lon) + 0.000003 * math.cos(lon * _BD)
    return radius * math.cos(angle) + 0.0065, radius * math.sin(angle) + 0.006


def _inverse(forward: Callable[[float, float], Place], lon: float, lat: float) -> Place:
    """Return the place that ``forward`` takes to this one: the shift hardly changes over its own length."""
    guess_lon, guess_lat = lon, lat
    for _ in range(_MOST_ROUNDS):
        there_lon, there_lat = forward(guess_lon, guess_lat)
        off_lon, off_lat = lon - there_lon, lat - there_lat
        guess_lon, guess_lat = guess_lon + off_lon, guess_lat + off_lat
        if abs(off_lon) < _CLOSE and abs(off_lat) < _CLOSE:
            break
    return guess_lon, guess_lat
