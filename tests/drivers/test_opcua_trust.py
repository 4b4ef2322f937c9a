"""Whom an OPC UA link trusts: files in, judgements out."""

import datetime as dt
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from drivers.errors import BadInput, Misconfigured, Refused
from drivers.opcua_trust import REJECTED_MAX, TrustList

_NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
_DAY = dt.timedelta(days=1)
_URI = "urn:plant:server"
_KEYS = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("ca", "server", "other")}


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _made(subject: str, issuer: str, *, ca: bool = False, until: dt.datetime = _NOW + _DAY, uri: str = _URI):
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(_KEYS[subject].public_key())
        .serial_number(1000 + len(subject))
        .not_valid_before(_NOW - 2 * _DAY)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(_KEYS[issuer], hashes.SHA256())
    )


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _put(folder: Path, name: str, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def test_an_unknown_server_is_refused_kept_and_accepted_by_moving_its_file(tmp_path: Path) -> None:
    trust, server = TrustList(tmp_path), _made("server", "server")
    with pytest.raises(Refused, match=r"unknown server.*rejected.*or move it to trusted"):
        trust.check(_der(server), _URI, _NOW)
    (kept,) = (tmp_path / "rejected").iterdir()
    (tmp_path / "trusted").mkdir()
    kept.rename(tmp_path / "trusted" / kept.name)
    assert trust.check(_der(server), _URI, _NOW) == _der(server)
    with pytest.raises(Refused, match="unknown"):
        trust.check(_der(_made("other", "other")), _URI, _NOW)


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_an_authority_vouches_for_its_servers(tmp_path: Path, encoding: Encoding) -> None:
    authority = _made("ca", "ca", ca=True)
    _put(tmp_path / "trusted", "plant-ca", authority.public_bytes(encoding))
    trust, server = TrustList(tmp_path), _made("server", "ca")
    assert trust.check(_der(server) + _der(authority), _URI, _NOW) == _der(server)  # a chain, as servers send it


@pytest.mark.parametrize(
    ("authority", "said"),
    [
        ({"ca": False}, "unknown"),  # a server cannot vouch for another
        ({"ca": True, "until": _NOW - _DAY}, "unknown"),
    ],
)
def test_not_everybody_is_an_authority(tmp_path: Path, authority: dict[str, object], said: str) -> None:
    _put(tmp_path / "trusted", "ca.der", _der(_made("ca", "ca", **authority)))
    with pytest.raises(Refused, match=said):
        TrustList(tmp_path).check(_der(_made("server", "ca")), _URI, _NOW)


def test_a_forged_issuer_is_not_believed(tmp_path: Path) -> None:
    _put(tmp_path / "trusted", "ca.der", _der(_made("ca", "ca", ca=True)))
    forged = (
        x509.CertificateBuilder()
        .subject_name(_name("server")).issuer_name(_name("ca")).public_key(_KEYS["server"].public_key())
        .serial_number(1).not_valid_before(_NOW - _DAY).not_valid_after(_NOW + _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(_URI)]), critical=False)
        .sign(_KEYS["other"], hashes.SHA256())
    )  # fmt: skip
    with pytest.raises(Refused, match="unknown"):
        TrustList(tmp_path).check(_der(forged), _URI, _NOW)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"until": _NOW - _DAY}, "valid until 2026-11-21"),
        ({"uri": "urn:someone:else"}, "its certificate says urn:some"),
    ],
)
def test_a_trusted_certificate_must_also_fit(tmp_path: Path, server: dict[str, object], said: str) -> None:
    certificate = _made("server", "server", **server)
    _put(tmp_path / "trusted", "server.der", _der(certificate))
    with pytest.raises(Refused, match=said):
        TrustList(tmp_path).check(_der(certificate), _URI, _NOW)


def _crl(signer: str, serial: int) -> bytes:
    revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_NOW - _DAY).build()
    builder = x509.CertificateRevocationListBuilder().issuer_name(_name("ca")).last_update(_NOW - _DAY)
    builder = builder.next_update(_NOW + _DAY).add_revoked_certificate(revoked)
    return builder.sign(_KEYS[signer], hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_revoked_certificate_is_refused_and_a_forged_list_revokes_nobody(tmp_path: Path) -> None:
    _put(tmp_path / "trusted", "ca.der", _der(_made("ca", "ca", ca=True)))
    trust, server = TrustList(tmp_path), _made("server", "ca")
    _put(tmp_path / "crl", "plant.crl", _crl("other", server.serial_number))
    assert trust.check(_der(server), _URI, _NOW)
    _put(tmp_path / "crl", "plant.crl", _crl("ca", server.serial_number + 1))
    assert trust.check(_der(server), _URI, _NOW)
    _put(tmp_path / "crl", "plant.crl", _crl("ca", server.serial_number))
    with pytest.raises(Refused, match="revoked"):
        trust.check(_der(server), _URI, _NOW)


@pytest.mark.parametrize("data", [b"", b"0", b"0\x82", b"\x30\x03\x01\x01\x00", b"x" * 400])
def test_what_is_no_certificate_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Refused):
        TrustList(tmp_path).check(data, _URI, _NOW)


@pytest.mark.parametrize("folder", ["trusted", "crl"])
def test_a_file_that_cannot_be_read_is_a_wrong_configuration(tmp_path: Path, folder: str) -> None:
    server = _made("server", "server")
    _put(tmp_path / "trusted", "a.der", _der(server))
    _put(tmp_path / folder, "b.der", b"rubbish")
    with pytest.raises(Misconfigured, match=r"b\.der"):
        TrustList(tmp_path).check(_der(server), _URI, _NOW)


def test_strangers_do_not_fill_the_disk(tmp_path: Path) -> None:
    for n in range(REJECTED_MAX):
        _put(tmp_path / "rejected", f"{n}.der", b"")
    with pytest.raises(Refused, match="is full, clear it"):
        TrustList(tmp_path).check(_der(_made("server", "server")), _URI, _NOW)
    assert len(list((tmp_path / "rejected").iterdir())) == REJECTED_MAX


def test_accepting_and_rejecting_move_the_file(tmp_path: Path) -> None:
    trust, server = TrustList(tmp_path), _made("server", "server")
    with pytest.raises(Refused, match="trust accept") as refused:
        trust.check(_der(server), _URI, _NOW)
    (entry,) = trust.entries()
    assert (entry.state, entry.certificate) == ("rejected", server)
    assert entry.fingerprint[:16] in str(refused.value)
    colons = ":".join(re.findall("..", entry.fingerprint)).upper()
    assert trust.accept(colons).state == "trusted"
    assert trust.check(_der(server), _URI, _NOW) == _der(server)
    assert trust.reject(entry.fingerprint[:8]).state == "rejected"
    assert [one.state for one in trust.entries()] == ["rejected"]
    with pytest.raises(Refused, match="unknown"):
        trust.check(_der(server), _URI, _NOW)


@pytest.mark.parametrize(("digits", "said"), [("ab", "at least 8"), ("0" * 20, r"0 certificates .* there is nothing")])
def test_what_no_fingerprint_begins_with_is_not_accepted(tmp_path: Path, digits: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        TrustList(tmp_path).accept(digits)
