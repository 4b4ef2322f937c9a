"""`blackstart trust`: which OPC UA servers are trusted, which were turned away, and the gateway's own certificate.

Works on the trust folders of the configuration, with or without the daemon running: links look into them at each
connect, and a link that was turned away tries again within a minute.
"""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from drivers.clock import SystemClock
from drivers.errors import BadInput
from drivers.opcua import OpcuaLinkConfig
from drivers.opcua_identity import OwnIdentity
from drivers.opcua_trust import TrustEntry, TrustList
from gateway.cli_print import DEFAULT_CONFIG, ConfigOption, JsonOption, print_json, print_table
from gateway.config import Config, load

__all__ = ("trust_app",)

COLUMNS = ["state", "fingerprint", "subject", "expires", "links", "file"]
SHOWN_DIGITS = 16  # of a fingerprint, in the table; JSON has all

trust_app = typer.Typer(help="OPC UA certificates: whom the gateway trusts, and its own.", no_args_is_help=True)

LinkOption = Annotated[
    str | None, typer.Option("--link", help="Only the trust folder of this link; needed where there are several.")
]
Fingerprint = Annotated[str, typer.Argument(help="Beginning of the SHA-256 fingerprint, as `trust list` shows it.")]


@trust_app.command("list")
def list_(config: ConfigOption = DEFAULT_CONFIG, link: LinkOption = None, as_json: JsonOption = False) -> None:
    """Show the own certificate, the trusted servers, and those that were met and turned away."""
    rows = [row for folder, links in _folders(load(config), link).items() for row in _rows(folder, links)]
    if as_json:
        print_json(rows)
        return
    print_table("certificates", [row | {"fingerprint": row["fingerprint"][:SHOWN_DIGITS]} for row in rows], COLUMNS)


@trust_app.command()
def accept(
    fingerprint: Fingerprint,
    config: ConfigOption = DEFAULT_CONFIG,
    link: LinkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trust a server that was turned away; compare the whole fingerprint with the one that the server shows."""
    _say(TrustList(_one_folder(load(config), link)).accept(fingerprint), as_json=as_json)


@trust_app.command()
def reject(
    fingerprint: Fingerprint,
    config: ConfigOption = DEFAULT_CONFIG,
    link: LinkOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trust a server no longer; a session that stands goes on until its link connects again."""
    _say(TrustList(_one_folder(load(config), link)).reject(fingerprint), as_json=as_json)


@trust_app.command()
def renew(config: ConfigOption = DEFAULT_CONFIG, link: LinkOption = None, as_json: JsonOption = False) -> None:
    """Take the gateway's next certificate into use now; otherwise it happens two weeks before the old one expires."""
    checked = load(config)
    folder = _one_folder(checked, link)
    (uri, *others) = sorted({each.application_uri for each in _links(checked, link) if each.trust_dir == folder})
    if others:
        raise BadInput(f"links that share {folder} have several application_uri: {', '.join([uri, *others])}")
    made = OwnIdentity(folder, uri, socket.gethostname()).renew(SystemClock().now())
    print_json({"file": str(made)}) if as_json else print(f"in use from the next connect: {made}")


def _links(config: Config, link: str | None) -> list[OpcuaLinkConfig]:
    links = [each for each in config.link if isinstance(each, OpcuaLinkConfig) and each.trust_dir is not None]
    found = [each for each in links if link in (None, each.name)]
    if not found:
        names = ", ".join(each.name for each in links) or "none"
        what = f"link {link!r}" if link else "an OPC UA link"
        raise BadInput(f"there is no {what} with a trust_dir; links with one: {names}")
    return found


def _folders(config: Config, link: str | None) -> dict[Path, list[OpcuaLinkConfig]]:
    folders: dict[Path, list[OpcuaLinkConfig]] = {}
    for each in _links(config, link):
        assert each.trust_dir is not None, "only such links were taken"
        folders.setdefault(each.trust_dir, []).append(each)
    return folders


def _one_folder(config: Config, link: str | None) -> Path:
    (folder, *others) = _folders(config, link)
    if others:
        raise BadInput(f"there are {len(others) + 1} trust folders: say which by --link NAME")
    return folder


def _rows(folder: Path, links: list[OpcuaLinkConfig]) -> Iterator[dict[str, Any]]:
    names = " ".join(each.name for each in links)
    for state, file in (("own", folder / "own" / "client.der"), ("next", folder / "next" / "client.der")):
        if file.exists():
            yield _row(TrustEntry.read(state, file), names)
    yield from (_row(entry, names) for entry in TrustList(folder).entries())


def _row(entry: TrustEntry, links: str) -> dict[str, Any]:
    return {
        "state": entry.state,
        "fingerprint": entry.fingerprint,
        "subject": entry.certificate.subject.rfc4514_string(),
        "expires": f"{entry.certificate.not_valid_after_utc:%Y-%m-%d}",
        "links": links,
        "file": str(entry.file),
    }


def _say(entry: TrustEntry, *, as_json: bool) -> None:
    if as_json:
        print_json({"state": entry.state, "fingerprint": entry.fingerprint, "file": str(entry.file)})
        return
    print(f"{entry.state}: {entry.certificate.subject.rfc4514_string()}\nSHA-256 {entry.fingerprint}\n{entry.file}")
