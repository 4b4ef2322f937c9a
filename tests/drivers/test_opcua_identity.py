"""The gateway's own certificate over ten years of an own clock: kept, prepared, renewed, and never half of a pair."""

import datetime as dt
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from drivers.errors import BadInput, Misconfigured
from drivers.opcua_identity import CERT_NAME, KEY_NAME, PREPARE_BEFORE, SWITCH_BEFORE, VALID, OwnIdentity

_NOW = dt.datetime(2031, 5, 1, 12, tzinfo=dt.UTC)
_DAY = dt.timedelta(days=1)
_URI = "urn:blackstart:gw"


@pytest.fixture
def identity(tmp_path: Path) -> OwnIdentity:
    return OwnIdentity(tmp_path, _URI, "gw")


def _serial(file: Path) -> int:
    return x509.load_der_x509_certificate(file.read_bytes()).serial_number


def _is_a_pair(folder: Path) -> bool:
    certificate = x509.load_der_x509_certificate((folder / CERT_NAME).read_bytes())
    key = load_pem_private_key((folder / KEY_NAME).read_bytes(), None)
    return certificate.public_key() == key.public_key()


def test_it_is_made_once_and_kept(tmp_path: Path, identity: OwnIdentity) -> None:
    first = identity.current(_NOW, clock_trusted=True)
    assert stat.S_IMODE(first.key_file.stat().st_mode) == 0o600
    assert (first.expires, first.due) == (_NOW + VALID, _NOW + VALID - PREPARE_BEFORE)
    content = first.cert_file.read_bytes()
    assert OwnIdentity(tmp_path, _URI, "another-hostname").current(_NOW + 900 * _DAY, clock_trusted=True) == first
    assert first.cert_file.read_bytes() == content
    certificate = x509.load_der_x509_certificate(content)
    certificate.verify_directly_issued_by(certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [_URI]


def test_a_successor_lies_ready_for_a_season_and_is_then_taken(
    tmp_path: Path, identity: OwnIdentity, caplog: pytest.LogCaptureFixture
) -> None:
    first = identity.current(_NOW, clock_trusted=True)
    old, ready = _serial(first.cert_file), first.expires - PREPARE_BEFORE
    prepared = identity.current(ready, clock_trusted=True)
    assert "have the servers trust it" in caplog.text
    assert (_serial(prepared.cert_file), prepared.due) == (old, first.expires - SWITCH_BEFORE)
    following = _serial(tmp_path / "next" / CERT_NAME)
    assert _serial(identity.current(prepared.due - _DAY, clock_trusted=True).cert_file) == old
    renewed = identity.current(prepared.due, clock_trusted=True)
    assert _serial(renewed.cert_file) == following
    assert renewed.expires == ready + VALID
    assert _is_a_pair(tmp_path / "own")
    (aside,) = (tmp_path / "replaced").iterdir()
    assert _is_a_pair(aside)
    assert aside.name.startswith("2036-04-29")
    assert "is renewed" in caplog.text
    assert not (tmp_path / "next").exists()


def test_one_that_has_expired_meanwhile_is_replaced_at_once(tmp_path: Path, identity: OwnIdentity) -> None:
    first = identity.current(_NOW, clock_trusted=True)
    later = identity.current(first.expires + 400 * _DAY, clock_trusted=True)
    assert later.expires == first.expires + 400 * _DAY + VALID
    assert _is_a_pair(tmp_path / "own")


def test_a_clock_that_is_not_trusted_renews_nothing(tmp_path: Path, identity: OwnIdentity) -> None:
    first = identity.current(_NOW, clock_trusted=True)
    assert identity.current(first.expires + _DAY, clock_trusted=False).expires == first.expires
    assert [folder.name for folder in tmp_path.iterdir()] == ["own"]


def test_a_power_cut_between_the_two_renamings_is_made_good(tmp_path: Path, identity: OwnIdentity) -> None:
    first = identity.current(_NOW, clock_trusted=True)
    identity.current(first.due, clock_trusted=True)
    following = _serial(tmp_path / "next" / CERT_NAME)
    (tmp_path / "own").rename(tmp_path / "aside")
    assert _serial(identity.current(first.due, clock_trusted=True).cert_file) == following


def test_links_that_share_the_folder_get_the_same_pair(tmp_path: Path) -> None:
    def first_connect(_: int) -> int:
        return _serial(OwnIdentity(tmp_path, _URI, "gw").current(_NOW, clock_trusted=True).cert_file)

    with ThreadPoolExecutor(4) as links:
        assert len(set(links.map(first_connect, range(4)))) == 1
    assert _is_a_pair(tmp_path / "own")


@pytest.mark.parametrize("left", [(), (KEY_NAME,), (KEY_NAME, CERT_NAME)])
def test_a_pair_that_a_power_cut_left_unfinished_is_made_anew(
    tmp_path: Path, identity: OwnIdentity, left: tuple[str, ...]
) -> None:
    (tmp_path / "own.part").mkdir()
    for name in left:
        (tmp_path / "own.part" / name).write_bytes(b"half")
    identity.current(_NOW, clock_trusted=True)
    assert _is_a_pair(tmp_path / "own")
    assert not (tmp_path / "own.part").exists()


def test_a_person_can_take_the_successor_early_but_never_untold(tmp_path: Path, identity: OwnIdentity) -> None:
    old = _serial(identity.current(_NOW, clock_trusted=True).cert_file)
    with pytest.raises(BadInput, match="have the servers trust it"):
        identity.renew(_NOW)
    assert _serial(tmp_path / "own" / CERT_NAME) == old
    following = _serial(tmp_path / "next" / CERT_NAME)
    assert _serial(identity.renew(_NOW)) == following


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [(KEY_NAME, None, "is missing"), (CERT_NAME, None, "is missing"), (CERT_NAME, b"rubbish", "no certificate")],
)
def test_half_of_a_pair_is_a_wrong_configuration(
    tmp_path: Path, identity: OwnIdentity, name: str, content: bytes | None, said: str
) -> None:
    identity.current(_NOW, clock_trusted=True)
    (tmp_path / "own" / name).unlink()
    [(tmp_path / "own" / name).write_bytes(data) for data in (content,) if data is not None]
    with pytest.raises(Misconfigured, match=said):
        identity.current(_NOW, clock_trusted=True)


def test_a_pair_of_another_application_is_a_wrong_configuration(tmp_path: Path, identity: OwnIdentity) -> None:
    identity.current(_NOW, clock_trusted=True)
    with pytest.raises(Misconfigured, match="application_uri"):
        OwnIdentity(tmp_path, "urn:someone:else", "gw").current(_NOW, clock_trusted=True)
