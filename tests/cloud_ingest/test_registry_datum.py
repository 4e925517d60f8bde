"""Coordinates: the published pairs, and back to within a millimetre."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from cloud_ingest.registry.datum import bd09_of, gcj02_of, to_wgs84


def metres(one, two):
    north = (one[1] - two[1]) * 111_320
    east = (one[0] - two[0]) * 111_320 * math.cos(math.radians(one[1]))
    return math.hypot(north, east)


@pytest.mark.parametrize(
    ("wgs84", "gcj02"),
    [  # the pairs that github.com/googollee/eviltransform tests all its languages with
        ((121.5272106, 31.1774276), (121.531541859215, 31.17530398364597)),
        ((113.912316, 22.543847), (113.9171764808363, 22.540796131694766)),
        ((116.377817, 39.911954), (116.38404722455657, 39.91334545536069)),
    ],
)
def test_known_places_shift_as_published(wgs84, gcj02):
    assert gcj02_of(*wgs84) == pytest.approx(gcj02, abs=1e-9)
    assert metres(to_wgs84(*gcj02, "gcj02"), wgs84) < 0.02


def test_baidus_shift_is_as_published():
    # github.com/wandergis/coordtransform, as in its README
    assert bd09_of(116.404, 39.915) == pytest.approx((116.41036949371029, 39.92133699351021), abs=1e-9)


@given(lon=st.floats(73.6, 135.0), lat=st.floats(18.2, 53.5))
def test_there_and_back_is_less_than_two_centimetres_off(lon, lat):
    assert metres(to_wgs84(*gcj02_of(lon, lat), "gcj02"), (lon, lat)) < 0.02
    assert metres(to_wgs84(*bd09_of(*gcj02_of(lon, lat)), "bd09"), (lon, lat)) < 0.02


def test_outside_china_gcj02_is_wgs84():
    assert to_wgs84(2.3522, 48.8566, "gcj02") == (2.3522, 48.8566)
