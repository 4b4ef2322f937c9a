"""Samples come back after a restart; torn, damaged and foreign frames cost only themselves."""

import asyncio
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import journal.samples
from drivers.base import Quality, Sample
from drivers.errors import Transient
from journal.samples import SampleLog, _frames, _pack, _unpack

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def sample(number: int, point_id: str = "T1/SIML.H2ppm") -> Sample:
    return Sample(
        point_id=point_id,
        value=float(number),
        quality=Quality.GOOD,
        received_time=NOON + timedelta(seconds=number),
        monotonic_ns=number,
        clock_trusted=True,
    )


async def opened(folder: Path, clock, **options) -> SampleLog:
    log = SampleLog(folder, clock, **options)
    await log.open()
    return log


def segment_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.seg"))


async def test_windows_are_there_after_a_restart(tmp_path: Path, clock) -> None:
    log = await opened(tmp_path / "s", clock)
    full = replace(
        sample(3, "T2/SIML.CmbuGas"),
        value=None,
        quality=Quality.BAD,
        reason="NaN: no analysis yet \N{DEGREE SIGN}",
        source_time=NOON + timedelta(microseconds=1),
        server_time=NOON,
        clock_trusted=False,
        historical=True,
        test=True,
        substituted=True,
    )
    log.add([sample(1), sample(2), full])
    assert log.recent(["T1/SIML.H2ppm"], NOON) == [sample(1), sample(2)]
    await log.flush()
    log.add([replace(sample(4), value=True), replace(sample(5), value="open"), replace(sample(6), value=7)])
    await log.close()
    assert log.written_count == 6
    again = await opened(tmp_path / "s", clock)
    points = ["T1/SIML.H2ppm", "T2/SIML.CmbuGas", "unknown"]
    found = again.recent(points, NOON)
    assert found == [sample(1), sample(2), full, *found[3:]]
    assert [s.value for s in found[3:]] == [True, "open", 7]
    assert [s.value for s in again.recent(points, NOON + timedelta(seconds=5))] == ["open", 7]
    await again.close()


async def test_batches_are_written_by_themselves(tmp_path: Path, clock, monkeypatch) -> None:
    log = await opened(tmp_path / "s", clock, batch_s=0.01)
    flushed = asyncio.Event()
    flush = log.flush

    async def flush_and_tell() -> None:
        await flush()
        flushed.set()

    monkeypatch.setattr(log, "flush", flush_and_tell)
    log.add([sample(1)])
    await asyncio.wait_for(flushed.wait(), 10)
    assert log.written_count == 1
    await log.close()


@pytest.mark.parametrize("cut_bytes", [1, 5, 30])
async def test_a_torn_last_frame_costs_itself(tmp_path: Path, clock, cut_bytes: int) -> None:
    log = await opened(tmp_path, clock)
    for number in range(3):
        log.add([sample(number)])
        await log.flush()
    await log.close()
    (name,) = segment_names(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-cut_bytes])
    again = await opened(tmp_path, clock)
    assert (again.recent(["T1/SIML.H2ppm"], NOON), again.damaged_frames_count) == ([sample(0), sample(1)], 1)
    again.add([sample(7)])
    await again.close()
    third = await opened(tmp_path, clock)  # what came after the torn frame is readable
    assert third.recent(["T1/SIML.H2ppm"], NOON) == [sample(0), sample(1), sample(7)]
    await third.close()


@given(content=st.binary(max_size=300), keep=st.integers(0, 120))
def test_any_tail_is_tolerated(content: bytes, keep: int) -> None:
    packed = _pack([sample(1)])
    frame = journal.samples._FRAME.pack(len(packed), journal.samples.zlib.crc32(packed)) + packed
    first, *rest = _frames(frame + frame[:keep] + content)
    assert first == packed
    assert len(rest) <= 2


def test_a_tail_of_zeros_is_damage() -> None:
    assert list(_frames(bytes(4096))) == [b""]


@given(value=st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text()))
def test_values_come_back_as_they_were(value) -> None:
    (back,) = _unpack(_pack([replace(sample(1), value=value)]))
    assert type(back.value) is type(value)
    assert back.value == value or (math.isnan(back.value) and math.isnan(value))


async def test_memory_and_disk_are_bounded(tmp_path: Path, clock, monkeypatch) -> None:
    monkeypatch.setattr(journal.samples, "MAX_BATCH_SAMPLES", 10)
    monkeypatch.setattr(journal.samples, "MAX_RING_SAMPLES", 8)
    monkeypatch.setattr(journal.samples, "MAX_POINTS", 2)
    log = await opened(tmp_path, clock)
    log.add([sample(number) for number in range(12)])
    assert (len(log.recent(["T1/SIML.H2ppm"], NOON)), log.dropped_count) == (8, 2)
    await log.flush()
    log.add([sample(1, "B1/SIMG.Pres"), sample(1, "B2/SIMG.Pres")])
    assert log.recent(["B2/SIMG.Pres"], NOON) == []
    await log.close()


async def test_the_oldest_segments_go(tmp_path: Path, clock) -> None:
    for name in ("20200101T00.000.seg", "20200101T01.000.seg"):
        (tmp_path / name).write_bytes(bytes(10_000))
    log = await opened(tmp_path, clock, max_bytes=12_000)
    log.add([sample(1)])
    await log.close()
    assert segment_names(tmp_path) == ["20200101T01.000.seg", "20260301T12.000.seg"]


async def test_a_disk_that_refuses_costs_the_batch_not_the_log(tmp_path: Path, clock) -> None:
    folder = tmp_path / "s"
    log = await opened(folder, clock)
    folder.write_bytes(b"a file where the folder should be")
    log.add([sample(1)])
    await log.flush()
    assert (log.dropped_count, log.written_count) == (1, 0)
    folder.unlink()
    log.add([sample(2)])
    await log.close()
    assert log.written_count == 1


async def test_past_hours_are_sealed_and_read_back(tmp_path: Path, clock) -> None:
    log = await opened(tmp_path, clock)
    values = [1.5, True, 7, 2**60, "open", None, math.inf]
    first = [replace(sample(n), value=value, source_time=NOON) for n, value in enumerate(values)]
    log.add(first[:4])
    await log.flush()
    log.add(first[4:])
    await log.flush()
    clock.looks += 3600
    later = replace(sample(3700), quality=Quality.BAD, reason="device says so")
    log.add([later])
    await log.flush()
    assert segment_names(tmp_path) == ["20260301T13.000.seg"]
    assert (tmp_path / "20260301T12.000.parquet").exists()
    found = await log.history(["T1/SIML.H2ppm"], NOON, NOON + timedelta(hours=2))
    assert found == [*first, later]
    assert [type(s.value) for s in found] == [type(value) for value in values] + [float]
    assert await log.history(["T1/SIML.H2ppm"], NOON + timedelta(seconds=5), NOON + timedelta(seconds=6)) == first[5:]
    await log.close()
    again = await opened(tmp_path, clock)
    assert again.recent(["T1/SIML.H2ppm"], NOON) == [*first, later]
    await again.close()


async def test_a_cut_while_sealing_doubles_nothing(tmp_path: Path, clock) -> None:
    log = await opened(tmp_path, clock)
    log.add([sample(1)])
    await log.close()
    segment = (tmp_path / "20260301T12.000.seg").read_bytes()
    clock.looks += 3600
    log = await opened(tmp_path, clock)
    log.add([sample(3601)])
    await log.close()
    (tmp_path / "20260301T12.000.seg").write_bytes(segment)  # sealed, and not yet removed
    clock.looks -= 3600  # the clock goes back into a sealed hour
    again = await opened(tmp_path, clock)
    assert again.recent(["T1/SIML.H2ppm"], NOON) == [sample(1), sample(3601)]
    again.add([sample(2)])
    await again.close()
    assert segment_names(tmp_path) == ["20260301T12.001.seg"]
    third = await opened(tmp_path, clock)
    assert await third.history(["T1/SIML.H2ppm"], NOON, NOON + timedelta(hours=2)) == [
        sample(1),
        sample(2),
        sample(3601),
    ]
    await third.close()


async def test_a_bad_sealed_file_costs_itself(tmp_path: Path, clock) -> None:
    (tmp_path / "20260301T11.000.parquet").write_bytes(b"garbage" * 100)
    log = await opened(tmp_path, clock)
    assert log.damaged_frames_count == 1
    log.add([sample(1)])
    with pytest.raises(Transient, match="cannot be read"):
        await log.history(["T1/SIML.H2ppm"], NOON - timedelta(hours=2), NOON)
    assert await log.history(["T1/SIML.H2ppm"], NOON, NOON + timedelta(hours=1)) == [sample(1)]
    await log.close()
