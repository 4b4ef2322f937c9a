"""Stores on real files, opened and closed within one test."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from journal.rescue import boot
from journal.store import DuckStore
from journal.writer import Limits, Writer

KEY = b"k" * 32


class SteppingClock:
    """Wall time that moves one second with each look."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> datetime:
        self.looks += 1
        return datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=self.looks)

    def monotonic_ns(self) -> int:
        return self.looks * 1_000_000_000

    def trusted(self) -> bool:
        return True


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


@pytest.fixture
async def open_store(tmp_path: Path, clock: SteppingClock) -> AsyncIterator[Callable[..., Awaitable[DuckStore]]]:
    """`await open_store(folder, limits)` opens a store; it is closed after the test if the test has not done it."""
    opened: list[DuckStore] = []

    async def open_(folder: Path = tmp_path, limits: Limits | None = None) -> DuckStore:
        limits = limits or Limits(ballast_bytes=0)
        writer = await asyncio.to_thread(
            lambda: Writer(boot(folder, lambda: KEY), key=KEY, boot_id="boot-1", limits=limits)
        )
        opened.append(DuckStore(writer, clock))
        return opened[-1]

    yield open_
    for store in opened:
        await store.close()
