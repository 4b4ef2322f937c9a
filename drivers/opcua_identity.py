"""Who the gateway says it is to OPC UA servers: a key pair that is kept, and renewed before it expires.

    own/        client.der and client.key.pem, in use
    next/       the same of its successor: made ahead, so that people can have the servers trust it in time
    replaced/   pairs that were in use, by the day on which they expired or would have

A pair is a folder, complete before it gets its name, and changed by renaming folders: a power cut leaves the old pair,
or the new one, or a step that the next call completes.  Blocks on files: call it in a thread.  Called by
`drivers.opcua` at each connect.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drivers.errors import BadInput, Misconfigured

__all__ = ("OwnCertificate", "OwnIdentity")

VALID = timedelta(days=5 * 365)  # renewing means that every server must be told
PREPARE_BEFORE = timedelta(days=90)  # the successor is made: a season to tell the servers
SWITCH_BEFORE = timedelta(days=14)  # it is taken into use, while somebody can still put the old one back
KEY_BITS = 2048  # the length that every server of both policies takes
CERT_NAME, KEY_NAME = "client.der", "client.key.pem"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """The gateway's identity towards servers."""

    cert_file: Path
    key_file: Path
    expires: datetime
    due: datetime  # when something is to be done about it: the successor made, or taken into use


class OwnIdentity:
    """The own pair in one trust folder; several links may share it."""

    def __init__(self, folder: Path, application_uri: str, hostname: str) -> None:
        self._folder = folder
        self._own, self._next = folder / "own", folder / "next"
        self._application_uri = application_uri
        self._hostname = hostname

    def current(self, now: datetime, *, clock_trusted: bool) -> OwnCertificate:
        """The pair in use: made at the first call, kept, and renewed when it is due.

        By a clock that is not trusted nothing is renewed: it could throw away a pair that is good for years.  Raises
        Misconfigured where a file is missing or unreadable, or the certificate is made out to another application.
        """
        with self._alone():
            return self._current(now, clock_trusted=clock_trusted)

    def renew(self, now: datetime) -> Path:
        """Take the successor into use at once; returns the new certificate.

        Raises BadInput where there is no successor yet: it is made now, and the servers must be told first.
        """
        with self._alone():
            self._current(now, clock_trusted=False)
            if not self._next.exists():
                self._make(self._next, now)
                raise BadInput(
                    f"made {self._next / CERT_NAME} just now: have the servers trust it, then give the command again"
                )
            self._switch()
        return self._own / CERT_NAME

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Links that share the folder, and a person at the command line, one after the other."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield
            finally:
                os.close(handle)
        except OSError as err:
            raise Misconfigured(f"{self._folder}: {err}") from err

    def _current(self, now: datetime, *, clock_trusted: bool) -> OwnCertificate:
        if not self._own.exists() or not any(self._own.iterdir()):
            if self._next.exists():
                self._next.rename(self._own)  # the last half of a change that a power cut stopped
            else:
                self._make(self._own, now)
            _keep_names(self._folder)
        expires = self._read(self._own).not_valid_after_utc
        if clock_trusted and now >= expires - PREPARE_BEFORE and not self._next.exists():
            self._make(self._next, now)
            _log.warning(
                "%s expires on %s; its successor is %s: have the servers trust it, it is taken into use on %s",
                self._own / CERT_NAME,
                f"{expires:%Y-%m-%d}",
                self._next / CERT_NAME,
                f"{expires - SWITCH_BEFORE:%Y-%m-%d}",
            )
        if clock_trusted and now >= expires - SWITCH_BEFORE:
            self._switch()
            expires = self._read(self._own).not_valid_after_utc
        due = expires - (SWITCH_BEFORE if self._next.exists() else PREPARE_BEFORE)
        return OwnCertificate(self._own / CERT_NAME, self._own / KEY_NAME, expires, due)

    def _switch(self) -> None:
        old = self._read(self._own)
        self._read(self._next)  # nothing is set aside for a pair that cannot be read
        aside = self._folder / "replaced" / f"{old.not_valid_after_utc:%Y-%m-%d}-{old.serial_number:x}"
        aside.parent.mkdir(exist_ok=True)
        self._own.rename(aside)
        self._next.rename(self._own)
        _keep_names(aside.parent)
        _keep_names(self._folder)
        _log.warning("%s is renewed; the old one lies in %s", self._own / CERT_NAME, aside)

    def _read(self, pair: Path) -> x509.Certificate:
        cert_file, key_file = pair / CERT_NAME, pair / KEY_NAME
        if missing := [file for file in (cert_file, key_file) if not file.exists()]:
            raise Misconfigured(f"{missing[0]} is missing: restore it, or remove {pair} and have the servers told")
        try:
            certificate = x509.load_der_x509_certificate(cert_file.read_bytes())
        except ValueError as err:
            raise Misconfigured(f"{cert_file}: no certificate: {err}") from err
        names = [e.value for e in certificate.extensions if isinstance(e.value, x509.SubjectAlternativeName)]
        uris = [uri for name in names for uri in name.get_values_for_type(x509.UniformResourceIdentifier)]
        if self._application_uri not in uris:
            raise Misconfigured(
                f"{cert_file} is made out to {', '.join(uris) or 'nobody'}, the configuration says application_uri = "
                f"{self._application_uri!r}: change that, or remove {pair} and have the servers told"
            )
        return certificate

    def _make(self, pair: Path, now: datetime) -> None:
        """Write a new pair beside, in full, and give it its name."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        part = pair.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(part / KEY_NAME, private, 0o600)
        _write(part / CERT_NAME, self._certificate(key, now).public_bytes(Encoding.DER), 0o644)
        _keep_names(part)
        part.rename(pair)
        _keep_names(self._folder)

    def _certificate(self, key: rsa.RSAPrivateKey, now: datetime) -> x509.Certificate:
        """An application instance certificate as OPC 10000-6, 6.2.2 asks for, signed by itself."""
        common_name = f"Blackstart@{self._hostname}"[:64]  # X.520 grants a common name no more
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        names = [x509.UniformResourceIdentifier(self._application_uri), x509.DNSName(self._hostname)]
        public = key.public_key()
        usage = x509.KeyUsage(
            digital_signature=True,
            content_commitment=True,
            key_encipherment=True,
            data_encipherment=True,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))  # a server's clock may be behind ours
            .not_valid_after(now + VALID)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=False)
            .add_extension(usage, critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(key, hashes.SHA256())
        )


def _write(file: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())


def _keep_names(folder: Path) -> None:
    """Make renames within the folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
