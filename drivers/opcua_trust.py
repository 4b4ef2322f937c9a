"""Whom an OPC UA link trusts, and who it says it is: a folder of certificates.

    trusted/    servers, or authorities that sign them: what lies here was put here by a person
    rejected/   servers that were met and not known; moving a file to trusted/ accepts it
    crl/        revocation lists of the authorities in trusted/
    own/        client.der and client.key.pem, made once and kept, so that servers can trust them

An unknown server is never accepted.  Blocks on files: call it in a thread.  Called by `drivers.opcua`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from asyncua.crypto.cert_gen import dump_private_key_as_pem, generate_private_key, generate_self_signed_app_certificate
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from drivers.errors import Misconfigured, Refused

__all__ = ("OwnCertificate", "TrustList")

OWN_DAYS = 5 * 365  # renewing it means that every server must be told
REJECTED_MAX = 50  # files: a server that shows a new certificate at each attempt must not fill the disk
CERTIFICATE_BYTES_MAX = 65_536
_LONG_FORM = 0x80  # of a DER length


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """The gateway's identity towards servers."""

    cert_file: Path
    key_file: Path
    expires: datetime


class TrustList:
    """One folder; several links may share it."""

    def __init__(self, folder: Path) -> None:
        self._trusted = folder / "trusted"
        self._rejected = folder / "rejected"
        self._crl = folder / "crl"
        self._own = folder / "own"

    def check(self, der: bytes, application_uri: str, now: datetime) -> bytes:
        """The server's own certificate out of what it sent, if it may be trusted.

        Raises Refused where it is unknown (it is then kept in rejected/), revoked, out of its time, or made out to
        another application; Misconfigured where a file of the folder cannot be read.
        """
        certificate = _certificate(der)
        uris: list[str] = []
        for extension in certificate.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
        if application_uri not in uris:
            raise Refused(f"the server says that it is {application_uri}, its certificate says {', '.join(uris)}")
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise Refused(f"the server's certificate is valid until {certificate.not_valid_after_utc:%Y-%m-%d} only")
        trusted = list(self._certificates(self._trusted))
        issuers = [issuer for issuer in trusted if _issued(certificate, issuer, now)]
        if certificate not in trusted and not issuers:
            raise Refused(f"unknown server; kept as {self._keep(certificate)}: move it to trusted/ to accept it")
        if self._revoked(certificate, trusted):
            raise Refused("the server's certificate has been revoked")
        return certificate.public_bytes(Encoding.DER)

    def own_certificate(self, application_uri: str, hostname: str, now: datetime) -> OwnCertificate:
        """The gateway's certificate and key, made at the first call and kept from then on.

        Raises Misconfigured where one of the two files is missing, unreadable or made out to another application.
        """
        cert_file, key_file = self._own / "client.der", self._own / "client.key.pem"
        there = (cert_file.exists(), key_file.exists())
        if there == (False, False):
            self._make_own(cert_file, key_file, application_uri, hostname)
        elif False in there:
            raise Misconfigured(f"of {cert_file} and {key_file} one is missing: restore it, or remove both")
        try:
            certificate = x509.load_der_x509_certificate(cert_file.read_bytes())
        except (OSError, ValueError) as err:
            raise Misconfigured(f"{cert_file}: {err}") from err
        if now > certificate.not_valid_after_utc:
            raise Misconfigured(f"{cert_file} has expired: remove it and its key, then have the servers trust the new")
        return OwnCertificate(cert_file, key_file, certificate.not_valid_after_utc)

    def _make_own(self, cert_file: Path, key_file: Path, application_uri: str, hostname: str) -> None:
        key = generate_private_key()
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(application_uri), x509.DNSName(hostname)]
        certificate = generate_self_signed_app_certificate(
            key, f"Blackstart@{hostname}", {}, names, [ExtendedKeyUsageOID.CLIENT_AUTH], days=OWN_DAYS
        )
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            handle = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(dump_private_key_as_pem(key))
                file.flush()
                os.fsync(file.fileno())
            part = cert_file.with_suffix(".part")
            part.write_bytes(certificate.public_bytes(Encoding.DER))
            part.replace(cert_file)
        except OSError as err:
            raise Misconfigured(f"{self._own}: {err}") from err

    def _certificates(self, folder: Path) -> Iterator[x509.Certificate]:
        for file in sorted(folder.glob("*")) if folder.is_dir() else ():
            data = _content(file)
            try:
                pem = data.startswith(b"-----")
                yield x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
            except ValueError as err:
                raise Misconfigured(f"{file}: no certificate: {err}") from err

    def _revoked(self, certificate: x509.Certificate, trusted: list[x509.Certificate]) -> bool:
        """Whether a list of the certificate's issuer names it; a list whose signature nobody trusted made is void."""
        for file in sorted(self._crl.glob("*")) if self._crl.is_dir() else ():
            data = _content(file)
            try:
                crl = x509.load_pem_x509_crl(data) if data.startswith(b"-----") else x509.load_der_x509_crl(data)
            except ValueError as err:
                raise Misconfigured(f"{file}: no revocation list: {err}") from err
            if crl.issuer != certificate.issuer:
                continue
            issuers = [issuer for issuer in trusted if issuer.subject == crl.issuer]
            signed = any(crl.is_signature_valid(issuer.public_key()) for issuer in issuers)  # type: ignore[arg-type]
            if signed and crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
                return True
        return False

    def _keep(self, certificate: x509.Certificate) -> Path:
        file = self._rejected / f"{certificate.fingerprint(hashes.SHA256()).hex()[:16]}.der"
        try:
            self._rejected.mkdir(parents=True, exist_ok=True)
            if len(list(self._rejected.iterdir())) < REJECTED_MAX:
                file.write_bytes(certificate.public_bytes(Encoding.DER))
        except OSError as err:
            raise Misconfigured(f"{self._rejected}: {err}") from err
        return file


def _certificate(der: bytes) -> x509.Certificate:
    """The first certificate of a chain.  Raises Refused for anything else."""
    try:
        return x509.load_der_x509_certificate(der[: _der_length(der)])
    except (ValueError, IndexError) as err:
        raise Refused(f"what the server calls its certificate is none: {err}") from err


def _der_length(der: bytes) -> int:
    """Length of the first element of a chain, header included (X.690, 8.1.3)."""
    if der[1] < _LONG_FORM:
        return der[1] + 2
    octets = der[1] & ~_LONG_FORM
    return int.from_bytes(der[2 : 2 + octets]) + 2 + octets


def _issued(certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> bool:
    """Whether `issuer` is an authority within its time and has signed `certificate`."""
    try:
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, ValueError, TypeError, InvalidSignature):
        return False
    return basic.ca and issuer.not_valid_before_utc <= now <= issuer.not_valid_after_utc


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(CERTIFICATE_BYTES_MAX)
    except OSError as err:
        raise Misconfigured(f"{file}: {err.strerror}") from err
