"""Samples outside the database: a memory ring per point, and batches of ten seconds in segment files.

A segment `samples/<UTC hour>.<nn>.seg` is a row of frames `[u32 length][u32 CRC32][zstd(msgpack)]`; a process never
appends to a segment of an earlier one, so a torn last frame hurts nobody behind it.  Segments of past hours are
sealed to Parquet (`sealed`).  At open the newest files are read back into the rings, so that agents rebuild their
windows.  A power cut costs the last batch; evidence is
not kept here but with the finding.  `add` is called by the poller for every sample; disk work runs in a thread.
"""

import asyncio
import contextlib
import io
import itertools
import os
import struct
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgpack
import zstandard

from drivers.base import Clock, Quality, Sample
from drivers.errors import Transient
from journal.files import fsync_folder
from journal.sealed import MAX_ROWS, covered, newest_per_point, read_sealed, seal

__all__ = ("SampleLog",)

BATCH_S = 10.0
MAX_BATCH_SAMPLES = 50_000  # ten seconds at 5,000 a second; beyond that the disk hangs and samples are dropped
MAX_POINTS = 4_096
MAX_RING_SAMPLES = 512  # per point
MAX_BYTES = 2 << 30  # all segments; the oldest go
READ_BACK_BYTES = 4 << 20  # newest segments at open
MAX_FRAME_BYTES = 64 << 20  # unpacked; a frame that claims more is damaged
ZSTD_LEVEL = 3

_LAYOUT = 1  # first element of every batch
_FRAME = struct.Struct("<II")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_QUALITIES = tuple(Quality)


class SampleLog:
    """The samples of all points.  Methods belong to one event loop."""

    def __init__(self, folder: Path, clock: Clock, *, batch_s: float = BATCH_S, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._clock = clock
        self._batch_s = batch_s
        self._max_bytes = max_bytes
        self._rings: dict[str, deque[Sample]] = {}
        self._batch: list[Sample] = []
        self._segment: _Segment | None = None
        self._flushing = asyncio.Lock()
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.dropped_count = 0  # samples that no batch had room for, or whose batch could not be written
        self.written_count = 0
        self.unsealed_count = 0  # hours that could not be sealed; their segments stay as they are
        self.damaged_frames_count = 0  # found at open

    async def open(self) -> None:
        """Read the newest segments back as far as they can be read, and begin to write batches."""
        samples, self.damaged_frames_count = await asyncio.to_thread(_read_back, self._folder)
        for sample in samples:
            self._remember(sample)
        self._task = asyncio.create_task(self._write_batches(), name="sample-log")

    async def history(self, point_ids: Collection[str], since: datetime, until: datetime) -> list[Sample]:
        """What disk and memory hold of these points, received in between, oldest first; at most 200,000, the newest.

        Raises Transient where a file cannot be read.
        """
        await self.flush()
        try:
            return await asyncio.to_thread(_history, self._folder, frozenset(point_ids), since, until)
        except OSError as err:
            raise Transient(f"{self._folder}: old samples cannot be read: {err}") from err

    def add(self, samples: Sequence[Sample]) -> None:
        """Keep samples in memory at once and on disk with the next batch.  Never blocks, never raises."""
        for sample in samples:
            self._remember(sample)
        room = MAX_BATCH_SAMPLES - len(self._batch)
        self._batch.extend(samples[:room])
        self.dropped_count += max(0, len(samples) - room)

    def recent(self, point_ids: Collection[str], since: datetime) -> list[Sample]:
        """What memory holds of these points, received at or after `since`, in the order of reception.

        `monotonic_ns` of a sample from before this process may belong to an earlier boot of the machine.
        """
        rings = (self._rings[point_id] for point_id in point_ids if point_id in self._rings)
        found = [sample for ring in rings for sample in ring if sample.received_time >= since]
        return sorted(found, key=lambda sample: sample.received_time)

    async def flush(self) -> None:
        """Write what waits and bring it to the disk; a batch that cannot be written is dropped and counted."""
        async with self._flushing:
            batch, self._batch = self._batch, []
            if not batch:
                return
            hour = self._clock.now().strftime("%Y%m%dT%H")
            try:
                await asyncio.to_thread(self._write, hour, batch)
            except OSError:
                self.dropped_count += len(batch)
                self._segment = None  # its end may be torn: go on in a new one
            else:
                self.written_count += len(batch)

    async def close(self) -> None:
        """Write the last batch and stop."""
        self._stop.set()  # not cancelled: a thread may be at work on a batch
        if self._task is not None:
            await self._task
            self._task = None
        await self.flush()
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _remember(self, sample: Sample) -> None:
        ring = self._rings.get(sample.point_id)
        if ring is None:
            if len(self._rings) >= MAX_POINTS:
                self.dropped_count += 1
                return
            ring = self._rings[sample.point_id] = deque(maxlen=MAX_RING_SAMPLES)
        ring.append(sample)

    async def _write_batches(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._batch_s)
            await self.flush()

    def _write(self, hour: str, batch: Sequence[Sample]) -> None:
        """In a thread: one frame, durable; then unlink what exceeds the cap."""
        if self._segment is None or self._segment.hour != hour:
            if self._segment is not None:
                self._segment.close()
            self._segment = _Segment(self._folder, hour)
        self._segment.write(_pack(batch))
        try:
            _seal_one_hour(self._folder, self._segment.hour)
        except OSError:
            self.unsealed_count += 1
        _unlink_oldest(self._folder, self._max_bytes, keep=self._segment.path)


class _Segment:
    """The file that this process appends to during one hour."""

    def __init__(self, folder: Path, hour: str) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.hour = hour
        used = [_number(path) for path in folder.glob(f"{hour}.*")]
        for number in itertools.count(max(used, default=-1) + 1):
            self.path = folder / f"{hour}.{number:03d}.seg"
            with contextlib.suppress(FileExistsError):
                self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                break
        fsync_folder(folder)

    def write(self, packed: bytes) -> None:
        frame = _FRAME.pack(len(packed), zlib.crc32(packed)) + packed
        if os.write(self._fd, frame) != len(frame):
            raise OSError(f"{self.path}: the disk took only a part of a batch")
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def _pack(batch: Sequence[Sample]) -> bytes:
    """Point names once, then a row per sample; times in microseconds since 1970, flags as bits."""
    index: dict[str, int] = {}
    rows = []
    for s in batch:
        flags = s.clock_trusted | s.historical << 1 | s.test << 2 | s.substituted << 3
        rows.append(
            (
                index.setdefault(s.point_id, len(index)),
                s.value,
                _QUALITIES.index(s.quality),
                s.reason,
                _to_us(s.received_time),
                s.monotonic_ns,
                _to_us(s.source_time),
                _to_us(s.server_time),
                flags,
            )
        )
    packed: bytes = msgpack.packb((_LAYOUT, list(index), rows), unicode_errors="replace")
    return zstandard.compress(packed, ZSTD_LEVEL)


def _unpack(packed: bytes) -> list[Sample]:
    data = zstandard.ZstdDecompressor().decompress(packed, max_output_size=MAX_FRAME_BYTES)
    layout, *content = msgpack.unpackb(data)
    if layout != _LAYOUT:
        return []  # written by another version
    points, rows = content
    return [
        Sample(
            point_id=points[point],
            value=value,
            quality=_QUALITIES[quality],
            reason=reason,
            received_time=_from_us(received),
            monotonic_ns=monotonic_ns,
            source_time=None if source is None else _from_us(source),
            server_time=None if server is None else _from_us(server),
            clock_trusted=bool(flags & 1),
            historical=bool(flags & 2),
            test=bool(flags & 4),
            substituted=bool(flags & 8),
        )
        for point, value, quality, reason, received, monotonic_ns, source, server, flags in rows
    ]


def _to_us(time: datetime | None) -> Any:
    return None if time is None else (time - _EPOCH) // _MICROSECOND


def _from_us(time_us: int) -> datetime:
    return _EPOCH + time_us * _MICROSECOND


def _read_back(folder: Path) -> tuple[list[Sample], int]:
    """In a thread: samples of the newest files, oldest first, and how many frames or files were damaged."""
    chosen: list[Path] = []
    total_bytes = 0
    for path in reversed(_files(folder)):
        chosen.insert(0, path)
        total_bytes += path.stat().st_size
        if total_bytes >= READ_BACK_BYTES:
            break
    damaged = 0
    samples: list[Sample] = []
    try:
        samples = newest_per_point([path for path in chosen if path.suffix == ".parquet"], MAX_RING_SAMPLES)
    except OSError:  # the segments may be whole
        damaged += 1
    for path in chosen:
        if path.suffix == ".seg":
            found, damaged_here = _read_segment(path)
            samples += [sample for batch in found for sample in batch]
            damaged += damaged_here
    return samples, damaged


def _history(folder: Path, point_ids: Collection[str], since: datetime, until: datetime) -> list[Sample]:
    first, last = since.astimezone(UTC).strftime("%Y%m%dT%H"), until.astimezone(UTC).strftime("%Y%m%dT%H")
    within = [path for path in _files(folder) if first <= path.name.partition(".")[0] <= last]
    samples = read_sealed([path for path in within if path.suffix == ".parquet"], point_ids, since, until)
    for path in within:
        if path.suffix == ".seg":
            batches, _ = _read_segment(path)
            samples += [s for batch in batches for s in batch if s.point_id in point_ids]
    found = [sample for sample in samples if since <= sample.received_time <= until]
    return sorted(found, key=lambda sample: sample.received_time)[-MAX_ROWS:]


def _seal_one_hour(folder: Path, current_hour: str) -> None:
    """In a thread: the oldest hour that is over; segments that were sealed before only go.  Raises OSError."""
    sealed = covered(folder)
    open_paths: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.seg")):
        hour = path.name.partition(".")[0]
        if _number(path) <= sealed.get(hour, -1):
            path.unlink()
        elif hour != current_hour:
            open_paths.setdefault(hour, []).append(path)
    if not open_paths:
        return
    paths = open_paths[min(open_paths)]
    seal(paths[-1].with_suffix(".parquet"), (batch for path in paths for batch in _read_segment(path)[0]))
    for path in paths:
        path.unlink()


def _files(folder: Path) -> list[Path]:
    """Segments and sealed files, oldest first, without segments that are sealed."""
    sealed = covered(folder)
    segments = [path for path in folder.glob("*.seg") if _number(path) > sealed.get(path.name.partition(".")[0], -1)]
    return sorted([*segments, *folder.glob("*.parquet")])


def _number(path: Path) -> int:
    return int(path.name.split(".")[1])


def _read_segment(path: Path) -> tuple[list[list[Sample]], int]:
    """The batches of one segment and how many frames were damaged."""
    try:
        content = path.read_bytes()
    except OSError:  # a bad sector: the others may be whole
        return [], 1
    batches: list[list[Sample]] = []
    damaged = 0
    for packed in _frames(content):
        try:
            batches.append(_unpack(packed))
        except (zstandard.ZstdError, ValueError):
            damaged += 1
    return batches, damaged


def _frames(content: bytes) -> Iterator[bytes]:
    """The frames of a segment; an empty one, which cannot be unpacked, where it is damaged: nothing behind is believed.

    A cut may leave zeros at the end of a file, and a frame of no bytes has the checksum zero.
    """
    stream = io.BytesIO(content)
    while header := stream.read(_FRAME.size):
        length, crc = _FRAME.unpack(header) if len(header) == _FRAME.size else (0, 0)
        packed = stream.read(length)
        if not packed or len(packed) < length or zlib.crc32(packed) != crc:
            yield b""
            return
        yield packed


def _unlink_oldest(folder: Path, max_bytes: int, *, keep: Path) -> None:
    sizes = {path: path.stat().st_size for path in _files(folder)}
    total_bytes = sum(sizes.values())
    for path, size_bytes in sizes.items():
        if total_bytes <= max_bytes:
            return
        if path != keep:
            path.unlink()
            total_bytes -= size_bytes
