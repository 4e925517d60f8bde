"""AT lines and datagrams: whole, byte by byte, torn, flipped and at random."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from telemetry.errors import Malformed, Refused
from telemetry.wire.at import Command, Dialog, Done, Unsolicited, Wants
from telemetry.wire.datagram import MOST_BYTES, Assembler, Message, Replayed, Window, pack, room

CSQ = Command("AT+CSQ", info=r"\+CSQ: ?\d+,\d+")
TALKS = [
    (CSQ, b"AT+CSQ\r\r\n+CSQ: 20,99\r\n\r\nOK\r\n", [Done(("+CSQ: 20,99",))]),
    (CSQ, b"\r\n+CEREG: 2\r\n\r\n+CSQ: 20,99\r\n\r\n+NSONMI: 1,5\r\n\r\nOK\r\n", [Unsolicited("+CEREG: 2"), Unsolicited("+NSONMI: 1,5"), Done(("+CSQ: 20,99",))]),
    (CSQ, b"\r\n+CME ERROR: 50\r\n", [Done((), "+CME ERROR: 50")]),
    (Command("AT+NSOCR=DGRAM,17,0,1", info=r"\d+"), b"\r\n1\r\nOK\r\n", [Done(("1",))]),
    (Command('AT+QIOPEN=1,0,"UDP","10.0.0.1",1,0,1', later=r"\+QIOPEN: ?0,\d+"), b"\r\nOK\r\n\r\n+QIOPEN: 0,0\r\n", [Done(("+QIOPEN: 0,0",))]),
    (Command('AT+QIOPEN=1,0,"UDP","10.0.0.1",1,0,1', later=r"\+QIOPEN: ?0,\d+"), b"\r\n+QIOPEN: 0,0\r\n\r\nOK\r\n", [Done(("+QIOPEN: 0,0",))]),
    (Command("AT+QISEND=0,3", data=b"abc"), b"\r\n> \r\n+CSCON: 1\r\n\r\nOK\r\n\r\nSEND OK\r\n", [Wants(b"abc"), Unsolicited("+CSCON: 1"), Done(())]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "said", "events"), TALKS)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_a_talk_is_understood_however_it_is_torn(command, said, events, step):
    dialog = Dialog()
    dialog.ask(command)
    told = [e for at in range(0, len(said), step) for e in dialog.feed(said[at : at + step])]
    assert told == events


def test_what_nobody_asked_for_is_unsolicited():
    assert Dialog().feed(b"\r\n+NPSMR: 1\r\n") == [Unsolicited("+NPSMR: 1")]


@given(st.lists(st.binary(max_size=60), max_size=30))
def test_noise_on_the_line_is_never_an_exception(chunks):
    dialog = Dialog()
    dialog.ask(CSQ)
    for chunk in chunks:
        for event in dialog.feed(chunk):
            assert isinstance(event, Done | Unsolicited | Wants)


def test_endless_noise_takes_no_memory():
    dialog = Dialog()
    for _ in range(100):
        dialog.feed(b"x" * 1000)
    assert len(dialog._buffer) < 10_000


KEY = b"the key"
messages = st.builds(
    Message, st.just("yeji"), st.just("edge-01"), st.integers(1, 2**62), st.integers(1, 2**32 - 1), st.sampled_from(["up", "status"]),
    st.binary(max_size=3000),
)  # fmt: skip


@given(messages, st.randoms())
def test_a_message_comes_out_as_it_went_in_whatever_the_order_of_its_parts(message, dice):
    datagrams = pack(message, KEY)
    assert max(map(len, datagrams)) <= MOST_BYTES
    dice.shuffle(datagrams)
    assembler = Assembler(lambda *_: KEY)
    told = [out for data in datagrams if (out := assembler.feed(data)) is not None]
    assert told == [message]


@given(messages, st.data())
def test_a_bit_that_flips_is_found(message, data):
    datagram = bytearray(pack(message, KEY)[0])
    place = data.draw(st.integers(0, len(datagram) * 8 - 1))
    datagram[place // 8] ^= 1 << place % 8
    with pytest.raises(Malformed):
        Assembler(lambda *_: KEY).feed(bytes(datagram))


@given(st.binary(max_size=600))
def test_random_bytes_are_malformed(data):
    with pytest.raises(Malformed):
        Assembler(lambda *_: KEY).feed(data)


def test_a_stranger_is_malformed_and_parts_that_never_come_take_no_memory():
    message = Message("yeji", "edge-01", 9, 1, "up", bytes(2000))
    with pytest.raises(Malformed, match="not from"):
        Assembler(lambda *_: None).feed(pack(message, KEY)[0])
    assembler = Assembler(lambda *_: KEY)
    for number in range(200):
        assert (
            assembler.feed(pack(Message("yeji", "edge-01", 9, number + 1, "up", bytes(2000)), KEY)[0]) is None
        )
    assert len(assembler._parts) <= 16


def test_a_message_that_is_sent_again_is_known_whole_or_in_parts_and_after_a_restart():
    windows = {}
    assembler = Assembler(lambda *_: KEY, windows)
    captured = pack(Message("yeji", "edge-01", 9, 1, "up", bytes(1000)), KEY)
    assert [assembler.feed(data) for data in captured][-1] is not None
    later = pack(Message("yeji", "edge-01", 10, 1, "up", b"x"), KEY)[0]
    assert assembler.feed(later) is not None
    for receiver in (assembler, Assembler(lambda *_: KEY, windows)):
        for data in (*captured, later):
            with pytest.raises(Replayed):
                receiver.feed(data)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 150)), max_size=200))
def test_a_window_takes_nothing_twice_and_never_refuses_what_is_new(told):
    window, taken, top = Window(), set(), (0, 0)
    for session, number in told:
        old = session < top[0] or (session == top[0] and number <= top[1] - 64)
        fresh = (session, number) not in taken and not old
        assert window.is_new(session, number) == fresh
        if fresh:
            window.take(session, number)
            taken.add((session, number))
            top = max(top, (session, number))


def test_what_no_row_of_datagrams_carries_is_refused():
    with pytest.raises(Refused):
        pack(Message("yeji", "edge-01", 9, 1, "up", bytes(200_000)), KEY)
    assert len(pack(Message("yeji", "edge-01", 9, 1, "up", bytes(room("yeji", "edge-01", "up"))), KEY)) == 1
    assert (
        len(pack(Message("yeji", "edge-01", 9, 1, "up", bytes(room("yeji", "edge-01", "up") + 1)), KEY)) == 2
    )
