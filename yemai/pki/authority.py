"""The authority: one folder with its key, what it has issued, and what it has taken back.

::

    DIR/ca.crt, ca.key          the authority itself; the key is for the one machine that enrols
    DIR/index.json              every certificate ever issued: serial, name, kind, end, whether revoked
    DIR/crl.pem                 what the broker must refuse; written anew with every change
    DIR/issued/NAME.crt, .key   certificate and key; no key where the device made its own

Keys are EC P-256.  A name is the certificate's CN and nothing else is trusted: the broker takes it as user *and* client
id, so it must be a level of a topic (mosquitto CVE-2017-7650: ``#`` and ``+`` as names read everything).  A name
belongs to one kind for ever.  X.509 after RFC 5280.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from telemetry import topics
from telemetry.errors import ConfigError, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = Literal["agent", "service"]
CA_DAYS = 3650
DAYS = 397
CRL_DAYS = 397
"""A broker with a stale list refuses everybody; the list is replaced by a file copy at each revocation anyway."""
_BACKDATED = timedelta(minutes=5)  # a device's clock may be that far behind
_SMALLEST_RSA = 2048


class Issued(msgspec.Struct, frozen=True):
    """One certificate; ``until`` and ``revoked`` are UTC seconds."""

    serial: int
    name: str
    kind: Kind
    until: int
    hosts: tuple[str, ...] = ()
    revoked: int | None = None


class Authority:
    """An authority that is there already; :meth:`create` makes one.  ``now`` is for tests."""

    def __init__(self, folder: Path, now: datetime | None = None) -> None:
        self.folder, self._now = folder, now
        try:
            self._certificate = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
            key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
            self.issued = msgspec.json.decode((folder / "index.json").read_bytes(), type=list[Issued])
        except OSError as error:
            raise Refused(
                f"{error.filename}: {error.strerror}; make an authority with `yemai pki init {folder}`"
            ) from None
        except (ValueError, TypeError, msgspec.DecodeError) as error:
            raise ConfigError(folder, "$", f"is no authority that can be used: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(folder / "ca.key", "$", "is no EC key")
        self._key = key

    @classmethod
    def create(cls, folder: Path, title: str, now: datetime | None = None) -> Authority:
        """Make a new authority in an empty place."""
        if (folder / "ca.key").exists():
            raise Refused(
                f"{folder} holds an authority already; a new one would make all its certificates worthless"
            )
        moment = now or datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
        certificate = (
            _builder(name, name, key.public_key(), moment, CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        (folder / "issued").mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        write_secret(folder / "ca.key", _pem(key))
        (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "index.json").write_bytes(b"[]")
        authority = cls(folder, now)
        authority.write_crl()
        return authority

    def issue(
        self, name: str, kind: Kind, *, hosts: Sequence[str] = (), csr: bytes | None = None, days: int = DAYS
    ) -> Issued:
        """Issue a certificate for a new name; with ``csr`` (PEM) the key stays where it was made.

        A name that cannot stand in a topic, is taken, or asks for too long is :class:`Refused`.
        """
        topics.level(name, what=kind)
        if any(one.name == name and (one.kind != kind or self._stands(one)) for one in self.issued):
            one = next(one for one in self.issued if one.name == name)
            raise Refused(
                f"'{name}' is a certificate of a{'n' if one.kind == 'agent' else ''} {one.kind} already; renew or revoke it"
            )
        return self._issue(name, kind, tuple(hosts), csr, days)

    def renew(self, name: str, *, csr: bytes | None = None, days: int = DAYS) -> Issued:
        """Issue a certificate with a new key for a name that stands; the old one ends by itself."""
        known = self.standing(name)
        return self._issue(name, known.kind, known.hosts, csr, days)

    def revoke(self, name: str) -> list[Issued]:
        """Take back all certificates of a name; return them."""
        taken = [one for one in self.issued if one.name == name and one.revoked is None]
        if not taken:
            raise Refused(f"there is no certificate '{name}' to revoke")
        at = int(self._moment().timestamp())
        self.issued = [
            msgspec.structs.replace(one, revoked=at) if one in taken else one for one in self.issued
        ]
        self._save()
        return taken

    def standing(self, name: str) -> Issued:
        """Return the newest certificate of a name that is neither revoked nor over."""
        found = [one for one in self.issued if one.name == name and self._stands(one)]
        if not found:
            raise Refused(f"'{name}' has no certificate that stands; issue one")
        return max(found, key=lambda one: one.until)

    def ending(self, within_days: float) -> list[Issued]:
        """Return the certificates that are in use and end within so many days, the first to end first."""
        bound = self._moment().timestamp() + within_days * 86_400
        newest = {
            one.name: one for one in sorted(self.issued, key=lambda one: one.until) if one.revoked is None
        }
        return sorted((one for one in newest.values() if one.until < bound), key=lambda one: one.until)

    def write_crl(self) -> None:
        """Write the revocation list anew, good for :data:`CRL_DAYS` days."""
        moment = self._moment()
        builder = (
            x509.CertificateRevocationListBuilder().issuer_name(self._certificate.subject)
            .last_update(moment - _BACKDATED).next_update(moment + timedelta(days=CRL_DAYS))
            .add_extension(x509.CRLNumber(int(moment.timestamp() * 1000)), critical=False)
        )  # fmt: skip
        for one in self.issued:
            if one.revoked is not None:
                builder = builder.add_revoked_certificate(
                    x509.RevokedCertificateBuilder().serial_number(one.serial)
                    .revocation_date(datetime.fromtimestamp(one.revoked, UTC)).build()
                )  # fmt: skip
        crl = builder.sign(self._key, hashes.SHA256())
        _replace(self.folder / "crl.pem", crl.public_bytes(serialization.Encoding.PEM), 0o644)

    # -- inside ----------------------------------------------------------------------------------------

    def _issue(self, name: str, kind: Kind, hosts: tuple[str, ...], csr: bytes | None, days: int) -> Issued:
        if not 1 <= days <= CA_DAYS:
            raise Refused(f"{days} days: a certificate is good for 1 to {CA_DAYS}")
        moment = self._moment()
        key = None if csr else ec.generate_private_key(ec.SECP256R1())
        public = key.public_key() if key else _asked(csr or b"")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        builder = (
            _builder(subject, self._certificate.subject, public, moment, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        issued = Issued(
            certificate.serial_number, name, kind, int(certificate.not_valid_after_utc.timestamp()), hosts
        )
        place = self.folder / "issued"
        if key:
            write_secret(place / f"{name}.key", _pem(key))
        _replace(place / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        self.issued = [*self.issued, issued]
        self._save()
        return issued

    def _stands(self, one: Issued) -> bool:
        return one.revoked is None and one.until > self._moment().timestamp()

    def _moment(self) -> datetime:
        return self._now or datetime.now(UTC)

    def _save(self) -> None:
        _replace(
            self.folder / "index.json", msgspec.json.format(msgspec.json.encode(self.issued), indent=1), 0o600
        )
        self.write_crl()


def write_secret(path: Path, data: bytes) -> None:
    """Write a file that nobody else may read, not even while it is written."""
    _replace(path, data, 0o600)


def _replace(path: Path, data: bytes, mode: int) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123 - a mode at birth
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise Unavailable(f"{path}: cannot be written: {error.strerror}") from None


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, moment: datetime, days: int
) -> x509.CertificateBuilder:  # fmt: skip
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _BACKDATED).not_valid_after(moment + timedelta(days=days))
    )  # fmt: skip


def _asked(csr: bytes) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """Return the public key of a request that is signed by its private half; its other wishes count for nothing."""
    try:
        request = x509.load_pem_x509_csr(csr)
        request_is_signed, public = request.is_signature_valid, request.public_key()
    except (ValueError, InvalidSignature) as error:
        raise Refused(f"this is no certificate request (PEM, PKCS #10): {error}") from None
    if not request_is_signed:
        raise Refused("the request is not signed by the key it names")
    if isinstance(public, rsa.RSAPublicKey) and public.key_size >= _SMALLEST_RSA:
        return public
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(
        public.curve, ec.SECP256R1 | ec.SECP384R1
    ):
        return public
    raise Refused("the request's key is neither EC P-256 or P-384 nor RSA of 2048 bits and more")


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=signs_certificates, crl_sign=signs_certificates, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
