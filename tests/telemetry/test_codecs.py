"""Whatever arrives is a message or Malformed, never anything else."""

import json as stdlib_json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from telemetry import codecs, plugins
from telemetry.errors import Malformed
from telemetry.quality import Quality
from telemetry.readings import MAX_UPLOAD_BYTES, Gap, Reading, Upload

names = st.text(min_size=1, max_size=12)
numbers = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
readings = st.builds(
    Reading,
    device=names,
    time=st.integers(0, 2**53),
    values=st.dictionaries(names, numbers, max_size=5),
    quality=st.dictionaries(names, st.sampled_from(Quality), max_size=3),
    attributes=st.dictionaries(names, names, max_size=2),
)
gaps = st.builds(
    Gap, cause=names, samples=st.integers(0, 10**9), start=st.integers(0, 2**53), end=st.integers(0, 2**53)
)
uploads = st.builds(
    Upload,
    agent=names,
    boot=names,
    seq=st.integers(1, 2**53),
    sent=st.integers(0, 2**53),
    readings=st.lists(readings, max_size=3).map(tuple),
    gaps=st.lists(gaps, max_size=2).map(tuple),
)
every_codec = pytest.mark.parametrize("name", plugins.names("telemetry.codecs"))


@every_codec
@given(upload=uploads)
@settings(max_examples=60, deadline=None)
def test_a_message_comes_back_as_it_was(name, upload):
    data = codecs.codec(name).encode(upload)
    assert codecs.decode(data, Upload, max_bytes=10**6) == upload


@every_codec
@given(upload=uploads, data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_message_is_a_message_or_malformed(name, upload, data):
    whole = codecs.codec(name).encode(upload)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    for damaged in (cut, flipped):
        try:
            assert isinstance(codecs.decode(damaged, Upload, max_bytes=10**6), Upload)
        except Malformed as error:
            assert len(error.excerpt) <= Malformed.EXCERPT


@given(data=st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_random_bytes_are_malformed(data):
    with pytest.raises(Malformed):
        codecs.decode(data, Upload, max_bytes=10**6)


@pytest.mark.parametrize(
    "data", [b"", b"{" * 100_000, b"\x91" * 100_000, b'{"agent":"\xff"}', b"NaN", b"[1]"]
)
def test_vicious_bytes_are_malformed(data):
    with pytest.raises(Malformed):
        codecs.decode(data, Upload, max_bytes=10**6)


def test_what_is_too_large_is_not_even_looked_at():
    with pytest.raises(Malformed, match="larger than 262144"):
        codecs.decode(b"{" + b" " * MAX_UPLOAD_BYTES, Upload, max_bytes=MAX_UPLOAD_BYTES)


def test_a_broken_message_says_where():
    with pytest.raises(Malformed) as caught:
        codecs.decode(b'{"agent": "edge-01", "boot" 7}', Upload, max_bytes=1000)
    assert caught.value.offset == 28


def test_a_technician_can_read_an_upload():
    upload = Upload(
        "edge-01",
        "b",
        1,
        0,
        (Reading("chg-01", 5, {"temperature": 41.5, "voltage_l1": None}, {"voltage_l1": Quality.NO_ANSWER}),),
    )
    told = stdlib_json.loads(codecs.codec("json").encode(upload))
    assert told["readings"][0] == {
        "device": "chg-01", "time": 5, "values": {"temperature": 41.5, "voltage_l1": None}, "quality": {"voltage_l1": 128},
    }  # fmt: skip
