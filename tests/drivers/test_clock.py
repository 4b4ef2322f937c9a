"""The real clock: trusted once the time daemon says so, and asked of the file system once a second."""

from pathlib import Path

import pytest

from drivers import clock as clock_module
from drivers.clock import TRUST_LOOK_NS, SystemClock


def test_trust_is_noticed_within_a_second_and_costs_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronised = tmp_path / "synchronized"
    now_ns = 10**12
    monkeypatch.setattr(clock_module, "_SYNCHRONISED", synchronised)
    monkeypatch.setattr(SystemClock, "monotonic_ns", lambda _: now_ns)
    clock = SystemClock()
    assert not clock.trusted()
    synchronised.touch()
    assert not clock.trusted()
    now_ns += TRUST_LOOK_NS
    assert clock.trusted()
    synchronised.unlink()
    assert clock.trusted()
    now_ns += TRUST_LOOK_NS
    assert not clock.trusted()


def test_time_goes_on() -> None:
    clock = SystemClock()
    earlier = clock.monotonic_ns()
    assert clock.monotonic_ns() >= earlier
    assert clock.now().tzinfo is not None
