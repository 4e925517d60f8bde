"""Every profile carries its own proof: raw bytes and the readings they must give."""

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from device_profiles import downlinks, frames, registers, schema
from device_profiles.loading import load_catalogue
from device_profiles.profile import Point, ValidIf
from device_profiles.vocabulary import Kind, load_classes
from device_profiles.wire import _RANGES, _line
from telemetry.errors import Malformed, Refused
from telemetry.quality import Quality

CATALOGUE = load_catalogue()
EXAMPLES = [(profile, example) for profile in CATALOGUE.values() for example in profile.examples]
every_profile = pytest.mark.parametrize("profile", CATALOGUE.values(), ids=lambda p: p.id)
every_frame = pytest.mark.parametrize(
    "profile", [p for p in CATALOGUE.values() if p.frame], ids=lambda p: p.id
)


def image_of(example):
    data = bytes.fromhex(example.hex)
    if example.space.is_bits:
        return {(example.space, example.address + i): bit for i, bit in enumerate(data)}
    words = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
    return {(example.space, example.address + i): word for i, word in enumerate(words)}


@pytest.mark.parametrize(("profile", "example"), EXAMPLES, ids=lambda x: getattr(x, "id", None) or x.hex[:24])
def test_raw_bytes_give_the_readings_written_beside_them(profile, example):
    bound = profile.bind(example.parameters)
    if example.error:
        with pytest.raises(Malformed, match=example.error):
            frames.decode_frame(bound, bytes.fromhex(example.hex))
        return
    if profile.transport == "modbus":
        said = registers.decode(bound, image_of(example))
    else:
        said = frames.decode_frame(bound, bytes.fromhex(example.hex))[-1]
        assert frames.frame_identity(bound, bytes.fromhex(example.hex)) == (example.identity or None)
    assert {name: said.values[name] for name in example.values} == pytest.approx(example.values)
    assert {name: said.attributes[name] for name in example.attributes} == example.attributes
    assert all(said.quality[name].is_bad for name, value in example.values.items() if value is None)


@every_profile
def test_a_profile_has_a_source_and_examples(profile):
    assert profile.source
    assert profile.examples
    assert profile.metrics


def test_there_is_a_real_device_for_every_class_that_the_facts_cover():
    covered = {profile.device_class for profile in CATALOGUE.values()}
    assert set(load_classes()) == covered
    assert len(CATALOGUE) >= 14


def identity_for(profile):
    known = {"dragino_ps_nb": "f868411060123456", "kingda_nb_water_meter": "00000805000001"}
    return known.get(profile.id, "868411060123456")


def plausible(metric):
    if metric.kind is Kind.STATE:
        return st.sampled_from(sorted(metric.states)).map(float)
    return st.floats(metric.low, metric.high)


@every_profile
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_what_is_encoded_reads_back(profile, data):
    metrics = load_classes()[profile.device_class].metrics
    bound = profile.bind({})
    values = {name: data.draw(plausible(metrics[name]), label=name) for name in profile.metrics}
    if profile.transport == "modbus":
        said = registers.decode(bound, registers.encode(bound, values))
    else:
        identity = identity_for(profile)
        frame = frames.encode_frame(bound, values, time_ms=1_764_000_000_000, identity=identity)
        said = frames.decode_frame(bound, frame)[-1]
        assert said.time_ms in (None, 1_764_000_000_000)
    for point in bound.values:
        if not point.metric or said.values[point.metric] is None:
            continue
        if point.codes:
            if values[point.metric] in point.codes.values():
                assert said.values[point.metric] == values[point.metric]
            continue
        step = _resolution(bound, point, metrics)
        low, high = _reach(bound, point, metrics)
        held = min(max(values[point.metric], low), high)
        assert said.values[point.metric] == pytest.approx(held, abs=step, rel=1e-6)


def _resolution(profile, point, metrics):
    """The scale a device has is what bounds its error."""
    helpers = {p.name: float(p.constant or 0) for p in profile.values if p.name}
    return abs(_line(point, helpers, metrics[point.metric].unit)[0]) * 1.01


def _reach(profile, point, metrics):
    if point.type in ("f32", "f64"):
        return -1e30, 1e30
    helpers = {p.name: float(p.constant or 0) for p in profile.values if p.name}
    scale, offset = _line(point, helpers, metrics[point.metric].unit)
    low, high = (
        _RANGES[point.type] if point.bits is None else (0, 2 ** (point.bits[1] - point.bits[0] + 1) - 1)
    )
    return low * scale + offset, high * scale + offset


@every_profile
def test_no_request_breaks_the_limits_of_its_device(profile):
    bound = profile.bind({})
    for block in registers.blocks(bound):
        assert block.count <= (
            profile.limits.max_bits if block.space.is_bits else profile.limits.max_registers
        )
        span = range(block.address, block.address + block.count)
        assert not any(
            first <= address <= last for address in span for first, last in profile.limits.forbidden
        )
        if profile.limits.exact:
            assert (block.address, block.count) in profile.limits.exact


@every_profile
def test_every_point_is_read_by_some_request(profile):
    bound = profile.bind({})
    read = {(b.space, a) for b in registers.blocks(bound) for a in range(b.address, b.address + b.count)}
    assert all((point.space, address) in read for point in bound.points for address in point.addresses)


def test_neighbours_share_one_request():
    assert [(b.address, b.count) for b in registers.blocks(CATALOGUE["eastron_sdm630"])] == [
        (0, 12),
        (52, 24),
    ]


def test_parameters_move_the_addresses():
    second = CATALOGUE["phoenix_charx_sec"].bind({"connector": 2})
    assert next(p.address for p in second.points if p.metric == "voltage_l1") == 2232
    with pytest.raises(ValueError, match="takes 1 to 48"):
        CATALOGUE["phoenix_charx_sec"].bind({"connector": 0})
    with pytest.raises(ValueError, match="has no parameter 'line'"):
        CATALOGUE["phoenix_charx_sec"].bind({"line": 1})


def test_a_register_that_was_not_read_makes_no_value():
    profile = CATALOGUE["sonbest_sm7901b"]
    assert registers.decode(profile, {}).values == {}


@every_frame
@given(noise=st.binary(max_size=60), cuts=st.lists(st.integers(1, 7), max_size=40))
@settings(max_examples=40, deadline=None)
def test_frames_are_found_in_any_stream_however_it_is_cut(profile, noise, cuts):
    frame = frames.encode_frame(
        profile,
        dict.fromkeys(profile.metrics, 1.0),
        time_ms=1_764_000_000_000,
        identity=identity_for(profile),
    )
    stream, reader, found = noise + frame * 4, frames.FrameReader(profile), []
    for cut in [*cuts, len(stream)]:
        found += reader.feed(stream[:cut])
        stream = stream[cut:]
        assert len(reader._buffer) <= profile.frame.length.most + 2048
    assert all(isinstance(item, bytes | Malformed) for item in found)
    if bytes.fromhex(profile.frame.start)[0:1] not in noise:
        assert found.count(frame) >= 3


@every_frame
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_frame_is_a_reading_or_malformed(profile, data):
    identity = identity_for(profile)
    whole = frames.encode_frame(
        profile, dict.fromkeys(profile.metrics, 1.0), time_ms=1_764_000_000_000, identity=identity
    )
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    for damaged in (
        whole[: data.draw(st.integers(0, len(whole)))],
        flipped,
        data.draw(st.binary(max_size=80)),
    ):
        try:
            for said in frames.decode_frame(profile, damaged):
                assert all(value is None or isinstance(value, float | int) for value in said.values.values())
        except Malformed:
            pass


def test_one_turned_bit_breaks_a_checksum():
    profile = CATALOGUE["plantower_pms5003"]
    whole = frames.encode_frame(profile, {"pm1_0": 9, "pm2_5": 18, "pm10": 27})
    for place in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(Malformed):
            frames.decode_frame(profile, bytes(damaged))


def test_a_device_that_says_fault_has_no_value_and_says_why():
    said = registers.decode(CATALOGUE["cet_pmc_53"], {("holding", 40078): 0x7FFF, ("holding", 40079): 350})
    assert said.values == {"residual_current": None, "cable_temperature_1": 35.0}
    assert said.quality == {"residual_current": Quality.DEVICE_FAULT}


def test_the_schema_for_editors_is_current():
    assert schema.FILE.read_text("utf-8") == schema.text()


def test_a_command_is_its_steps_in_order_and_no_other_is_made_up():
    (reset,) = registers.command_of(CATALOGUE["calectro_uniguard"], "reset_alarm")
    assert (reset.function_code, reset.address, reset.words) == (6, 0, (234,))
    arm, execute = registers.command_of(CATALOGUE["cet_pmc_53"], "open_output_1")
    assert (arm.address, execute.address, execute.within_s) == (9102, 9103, 15)
    with pytest.raises(Refused, match=r"has no command 'reset'; it has \['reset_alarm'\]"):
        registers.command_of(CATALOGUE["calectro_uniguard"], "reset")


def test_a_value_that_its_companion_does_not_vouch_for_is_none():
    profile = CATALOGUE["sonbest_sm7901b"]
    point = msgspec.structs.replace(profile.points[0], valid_if=ValidIf("ready", (1,)))
    ready = Point(name="ready", address=1)
    vouched = msgspec.structs.replace(profile, points=(point, ready))
    assert registers.decode(vouched, {("holding", 0): 536, ("holding", 1): 1}).values == {"sound_level": 53.6}
    said = registers.decode(vouched, {("holding", 0): 536, ("holding", 1): 0})
    assert (said.values, said.quality) == ({"sound_level": None}, {"sound_level": Quality.DEVICE_FAULT})
    assert registers.decode(vouched, {("holding", 0): 536}).values == {}


def test_a_valve_that_sleeps_is_told_in_its_own_frame_and_understands_it():
    meter = CATALOGUE["kingda_nb_water_meter"]
    shut = downlinks.downlink_of(meter, "valve_open", 0.0, "00000805000001")
    # 68H T A0..A6 04H 04H A0H 17H SER 99H CS 16H, CJT8_188ValveCloseCmd of the meter's firmware
    assert shut.hex() == "fefe6810010000050800000404a0170099de16"
    report = frames.encode_frame(meter, {"valve_open": 0.0}, identity="00000805000001")
    assert frames.frame_identity(meter, report) == "00000805000001"
    assert downlinks.read_downlink(meter, shut) == ("valve_open", 0.0)
    assert downlinks.read_downlink(meter, downlinks.downlink_of(meter, "valve_open", 1.0, "1")) == (
        "valve_open",
        1.0,
    )
    with pytest.raises(Refused, match="is outside 0 to 1"):
        downlinks.downlink_of(meter, "valve_open", 2.0, "1")
    with pytest.raises(Refused, match=r"cannot be told 'dimming'; it can be told \['valve_open'\]"):
        downlinks.downlink_of(meter, "dimming", 1.0, "1")


@given(data=st.binary(max_size=40), place=st.integers(0, 150))
def test_a_datagram_that_is_not_the_devices_is_malformed(data, place):
    meter = CATALOGUE["kingda_nb_water_meter"]
    shut = bytearray(downlinks.downlink_of(meter, "valve_open", 0.0, "00000805000001"))
    shut[place // 8] ^= 1 << place % 8
    for damaged in (data, bytes(shut)):
        with pytest.raises(Malformed):
            downlinks.read_downlink(meter, damaged)


@given(text=st.text(max_size=80))
def test_a_text_reads_back_as_it_was_written_or_is_refused(text):
    screen = CATALOGUE["text_block_gbk"]
    try:
        write = registers.text_of(screen, "text", text)
    except Refused as error:
        assert str(error)
        return
    image = {(write.space, write.address + place): word for place, word in enumerate(write.words)}
    assert registers.decode(screen, image).attributes["text"] == text.strip()
    assert (len(write.words), write.function_code) == (32, 16)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("限速\n60", "character 3 of the text, U\\+000A, is a control character"),
        ("\u202e60", "character 1 of the text, U\\+202E, is a control character"),
        ("积水🌊", "character 3 of the text, '🌊', is not in GBK"),
        ("水" * 33, "the text takes 66 bytes in GBK, the screen holds 64"),
        ("x" * 61, "the text has 61 characters, the screen holds 60"),
    ],
)
def test_a_text_that_could_not_be_shown_as_it_is_is_refused(text, problem):
    with pytest.raises(Refused, match=problem):
        registers.text_of(CATALOGUE["text_block_gbk"], "text", text)
