"""The authority: what it issues, renews, takes back and refuses."""

import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from telemetry.errors import ConfigError, Refused
from yemai.commands.pki import app
from yemai.pki.acl import acl
from yemai.pki.authority import Authority

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def authority(tmp_path):
    return Authority.create(tmp_path / "pki", "Test CA", NOW)


def certificate(authority, name):
    return x509.load_pem_x509_certificate((authority.folder / "issued" / f"{name}.crt").read_bytes())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def request(name, key):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def test_keys_are_nobody_elses_and_certificates_say_what_they_are_for(authority):
    authority.issue("agent-a", "agent")
    authority.issue("broker", "service", hosts=["broker.example", "10.0.0.1"])
    assert {mode(authority.folder / name) for name in ("ca.key", "issued/agent-a.key", "index.json")} == {
        0o600
    }
    agent, broker = certificate(authority, "agent-a"), certificate(authority, "broker")
    assert agent.subject.rfc4514_string() == "CN=agent-a"
    uses = agent.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(uses) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]
    names = broker.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example"]
    agent.verify_directly_issued_by(
        x509.load_pem_x509_certificate((authority.folder / "ca.crt").read_bytes())
    )


def test_a_device_may_keep_its_key_and_name_itself_in_vain(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    authority.issue("agent-a", "agent", csr=request("ingest-1", key))
    made = certificate(authority, "agent-a")
    assert made.subject.rfc4514_string() == "CN=agent-a"
    assert made.public_key() == key.public_key()
    assert not (authority.folder / "issued" / "agent-a.key").exists()


@pytest.mark.parametrize(
    ("csr", "told"),
    [
        (b"hello", "no certificate request"),
        (request("a", ec.generate_private_key(ec.SECP224R1())), "neither EC P-256"),
    ],
)
def test_a_request_that_is_none_is_refused(authority, csr, told):
    with pytest.raises(Refused, match=told):
        authority.issue("agent-a", "agent", csr=csr)
    assert authority.issued == []


def test_a_name_belongs_to_one_kind_for_ever(authority):
    authority.issue("ingest-1", "service")
    with pytest.raises(Refused, match="'ingest-1' is a certificate of a service already"):
        authority.issue("ingest-1", "agent")
    authority.revoke("ingest-1")
    with pytest.raises(Refused, match="is a certificate of a service already"):
        authority.issue("ingest-1", "agent")
    authority.issue("ingest-1", "service")


def test_renewal_gives_a_new_key_under_the_old_name(authority):
    first = authority.issue("broker", "service", hosts=["broker.example"])
    key = (authority.folder / "issued" / "broker.key").read_bytes()
    second = authority.renew("broker")
    assert (second.name, second.hosts) == (first.name, first.hosts)
    assert second.serial != first.serial
    assert (authority.folder / "issued" / "broker.key").read_bytes() != key
    with pytest.raises(Refused, match="'nobody' has no certificate that stands"):
        authority.renew("nobody")


def test_revocation_is_in_the_list_and_survives_a_restart(authority):
    old = authority.issue("agent-a", "agent")
    new = authority.renew("agent-a")
    authority.revoke("agent-a")
    crl = x509.load_pem_x509_crl((authority.folder / "crl.pem").read_bytes())
    assert {one.serial_number for one in crl} == {old.serial, new.serial}
    again = Authority(authority.folder, NOW)
    assert all(one.revoked for one in again.issued)
    with pytest.raises(Refused, match="no certificate 'agent-a' to revoke"):
        again.revoke("agent-a")


def test_what_ends_soon_is_listed_by_the_certificate_in_use(authority):
    authority.issue("agent-a", "agent", days=100)
    authority.issue("agent-b", "agent", days=10)
    authority.issue("agent-c", "agent", days=10)
    authority.renew("agent-c")
    later = Authority(authority.folder, NOW + timedelta(days=1))
    assert [one.name for one in later.ending(30)] == ["agent-b"]
    assert [one.name for one in Authority(authority.folder, NOW + timedelta(days=90)).ending(30)] == [
        "agent-b",
        "agent-a",
    ]


def test_an_authority_is_made_once_and_a_broken_one_is_told(authority):
    with pytest.raises(Refused, match="holds an authority already"):
        Authority.create(authority.folder, "Other")
    with pytest.raises(Refused, match="make an authority with `yemai pki init"):
        Authority(authority.folder / "nowhere")
    (authority.folder / "index.json").write_text("[")
    with pytest.raises(ConfigError, match="is no authority that can be used"):
        Authority(authority.folder)


def test_the_acl_takes_only_names_that_stand_in_a_topic():
    with pytest.raises(Refused, match="cannot be part of a topic"):
        acl("yeji", ingests=["ingest\nuser evil"])
    assert "%c" not in acl("yeji")


def test_the_words_from_first_to_last(tmp_path, monkeypatch):
    monkeypatch.setenv("YEMAI_LANG", "en")
    pki = ["--pki", str(tmp_path / "pki")]
    run = CliRunner().invoke
    assert run(app, ["init", *pki]).exit_code == 0
    assert "agent-a.crt" in run(app, ["agent", "agent-a", "--days", "5", *pki]).output
    listed = run(app, ["list", *pki])
    assert listed.exit_code == 1
    assert "ends soon" in listed.output
    assert run(app, ["list", "--within", "1", *pki]).exit_code == 0
    assert "restart mosquitto" in run(app, ["revoke", "agent-a", *pki]).output
    assert "revoked" in run(app, ["list", *pki]).output
    assert isinstance(run(app, ["agent", "a#", *pki]).exception, Refused)


def test_an_operator_may_push_configurations_and_a_gateway_speaks_for_agents_and_neither_may_command():
    told = acl("yeji", operators=["office"], gateways=["air-1"])
    office = told.split("user office\n")[1].split("\n\n")[0].splitlines()
    assert office == ["topic readwrite yemai/v1/yeji/+/config", "topic read yemai/v1/yeji/+/status"]
    air = told.split("user air-1\n")[1].split("\n\n")[0].splitlines()
    assert sorted(line for line in air if "write" in line) == [
        f"topic write yemai/v1/yeji/+/{end}" for end in ("cmd/result", "status", "up")
    ]
