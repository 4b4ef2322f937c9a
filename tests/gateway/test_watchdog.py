"""Heartbeats and the datagram that feeds systemd."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.watchdog import Heartbeats, notify


def test_a_loop_is_late_after_its_time_and_not_before(clock: Any) -> None:
    heartbeats = Heartbeats(clock)
    heartbeats.expect("poller", 5.0)
    clock.advance(5)
    assert heartbeats.late() == []
    clock.advance(0.001)
    assert heartbeats.late() == ["poller"]
    heartbeats.beat("poller")
    assert heartbeats.late() == []


def test_the_worst_comes_first_and_who_left_is_not_missed(clock: Any) -> None:
    heartbeats = Heartbeats(clock)
    for name, within_s in (("a", 5.0), ("b", 1.0), ("c", 3.0)):
        heartbeats.expect(name, within_s)
    clock.advance(60)
    assert heartbeats.late() == ["b", "c", "a"]
    heartbeats.forget("b")
    heartbeats.forget("b")
    assert heartbeats.late() == ["c", "a"]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(5)
        yield receiver


def test_the_service_manager_hears(manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    assert notify("READY=1\nSTATUS=2/2 links up")
    assert manager.recv(200) == b"READY=1\nSTATUS=2/2 links up"


def test_an_abstract_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = f"blackstart-{tmp_path.name}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        assert notify("WATCHDOG=1")
        assert receiver.recv(200) == b"WATCHDOG=1"


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert not notify("READY=1")
