"""When a certificate ends, against what cryptography says of it."""

import datetime as dt
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from telemetry.certificate import days_left, ends_ms
from telemetry.errors import Malformed, Unavailable

KEY = ec.generate_private_key(ec.SECP256R1())
DAY_MS = 86_400_000


def made(ends, serial=1, name="边缘"):
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(KEY.public_key()).serial_number(serial)
        .not_valid_before(dt.datetime(1960, 1, 1, tzinfo=dt.UTC)).not_valid_after(ends)
    )  # fmt: skip
    return built.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@given(
    st.datetimes(dt.datetime(1961, 1, 1), dt.datetime(2199, 12, 31), timezones=st.just(dt.UTC)),  # noqa: DTZ001 - hypothesis wants them so
    st.integers(1, 1 << 158),
    st.text("叶abc", min_size=1, max_size=60),
)
def test_the_end_is_that_which_the_certificate_was_given(ends, serial, name):
    ends = ends.replace(microsecond=0)
    assert ends_ms(made(ends, serial, name)) == round(ends.timestamp() * 1000)


CERTIFICATE = made(dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.UTC))
DER = ssl.PEM_cert_to_DER_cert(CERTIFICATE)


@given(st.integers(0, len(DER) - 1), st.integers(0, 255))
def test_a_byte_that_has_tipped_gives_a_time_or_is_told(place, byte):
    data = bytearray(DER)
    data[place] = byte
    for broken in (bytes(data), DER[:place], b""):
        try:
            assert isinstance(ends_ms(ssl.DER_cert_to_PEM_cert(broken)), int)
        except Malformed as error:
            assert str(error).startswith("certificate: ")


@given(st.text())
def test_any_text_is_no_certificate(text):
    with pytest.raises(Malformed, match="there is none in the file"):
        ends_ms(text)


def test_a_file_with_a_chain_is_told_by_its_first_and_one_that_is_not_there_is_unavailable(tmp_path):
    path = tmp_path / "chain.crt"
    path.write_text("# agent\n" + made(dt.datetime(2026, 1, 11, tzinfo=dt.UTC)) + CERTIFICATE)
    now = round(dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC).timestamp() * 1000)
    assert days_left(path, now) == 9.5
    assert days_left(path, now + 20 * DAY_MS) == -10.5
    with pytest.raises(Unavailable, match="nowhere: No such file"):
        days_left(tmp_path / "nowhere", now)
