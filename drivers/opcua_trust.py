"""Whom an OPC UA link trusts: a folder of certificates.

    trusted/    servers, or authorities that sign them: what lies here was put here by a person
    rejected/   servers that were met and not known; `blackstart trust accept` moves one to trusted/
    crl/        revocation lists of the authorities in trusted/

Beside them lies the gateway's own identity: see `drivers.opcua_identity`.

An unknown server is never accepted.  Blocks on files: call it in a thread.  Called by `drivers.opcua` and
`blackstart trust`.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.errors import BadInput, Misconfigured, Refused

__all__ = ("TrustEntry", "TrustList")

REJECTED_MAX = 50  # files: a server that shows a new certificate at each attempt must not fill the disk
CERTIFICATE_BYTES_MAX = 65_536
FINGERPRINT_DIGITS_MIN = 8  # of 64: what a person reads out over the telephone, and nobody meets by chance
_LONG_FORM = 0x80  # of a DER length


@dataclass(frozen=True, slots=True)
class TrustEntry:
    """One certificate and what is thought of it."""

    state: str  # trusted or rejected
    file: Path
    certificate: x509.Certificate

    @classmethod
    def read(cls, state: str, file: Path) -> "TrustEntry":
        """From a DER or PEM file.  Raises Misconfigured where it is none."""
        data = _content(file)
        try:
            pem = data.startswith(b"-----")
            return cls(
                state, file, x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
            )
        except ValueError as err:
            raise Misconfigured(f"{file}: no certificate: {err}") from err

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the certificate, hexadecimal."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()


class TrustList:
    """One folder; several links may share it."""

    def __init__(self, folder: Path) -> None:
        self._trusted = folder / "trusted"
        self._rejected = folder / "rejected"
        self._crl = folder / "crl"

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
        trusted = [entry.certificate for entry in _entries(self._trusted)]
        issuers = [issuer for issuer in trusted if _issued(certificate, issuer, now)]
        if certificate not in trusted and not issuers:
            raise Refused(f"unknown server; {self._keep(certificate)}")
        if self._revoked(certificate, trusted):
            raise Refused("the server's certificate has been revoked")
        return certificate.public_bytes(Encoding.DER)

    def entries(self) -> list[TrustEntry]:
        """Every certificate of trusted/ and rejected/.  Raises Misconfigured for a file that is none."""
        return [*_entries(self._trusted), *_entries(self._rejected)]

    def accept(self, fingerprint: str) -> TrustEntry:
        """Trust a server that was met: moves its certificate from rejected/ to trusted/.

        `fingerprint` is the beginning of the SHA-256, eight digits at least.  Raises BadInput where it is too short or
        not exactly one certificate begins with it.
        """
        return self._move(fingerprint, self._rejected, self._trusted)

    def reject(self, fingerprint: str) -> TrustEntry:
        """The opposite of `accept`; a session that stands is not cut, the next connect is refused."""
        return self._move(fingerprint, self._trusted, self._rejected)

    def _move(self, fingerprint: str, source: Path, target: Path) -> TrustEntry:
        wanted = fingerprint.replace(":", "").lower()
        if len(wanted) < FINGERPRINT_DIGITS_MIN:
            raise BadInput(f"{fingerprint!r}: give at least {FINGERPRINT_DIGITS_MIN} digits of the fingerprint")
        entries = _entries(source)
        found = [entry for entry in entries if entry.fingerprint.startswith(wanted)]
        if len(found) != 1:
            there = ", ".join(sorted(entry.fingerprint[:16] for entry in entries)) or "nothing"
            raise BadInput(f"{len(found)} certificates in {source} begin with {wanted}; there is {there}")
        file = found[0].file
        moved = target / file.name
        try:
            target.mkdir(parents=True, exist_ok=True)
            if moved.exists():
                moved = target / f"{found[0].fingerprint[:16]}.der"
            file.replace(moved)
        except OSError as err:
            raise Misconfigured(f"{file}: cannot be moved to {target}: {err.strerror}") from err
        return TrustEntry(target.name, moved, found[0].certificate)

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

    def _keep(self, certificate: x509.Certificate) -> str:
        """Lay a stranger's certificate into rejected/; returns what a person can do about it."""
        short = certificate.fingerprint(hashes.SHA256()).hex()[:16]
        file = self._rejected / f"{short}.der"
        try:
            self._rejected.mkdir(parents=True, exist_ok=True)
            if not file.exists() and len(list(self._rejected.iterdir())) >= REJECTED_MAX:
                return f"{self._rejected} is full, clear it: then its certificate {short} is kept there to be accepted"
            file.write_bytes(certificate.public_bytes(Encoding.DER))
        except OSError as err:
            raise Misconfigured(f"{self._rejected}: {err}") from err
        return f"kept as {file}: `blackstart trust accept {short}` or move it to trusted/"


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


def _entries(folder: Path) -> list[TrustEntry]:
    return [TrustEntry.read(folder.name, file) for file in sorted(folder.glob("*"))] if folder.is_dir() else []


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(CERTIFICATE_BYTES_MAX)
    except OSError as err:
        raise Misconfigured(f"{file}: {err.strerror}") from err
