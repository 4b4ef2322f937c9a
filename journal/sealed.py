"""Sample segments of past hours as Parquet: smaller, and readable by anything that reads Parquet.

`samples/<UTC hour>.<nnn>.parquet` holds what the segments of that hour up to that number held, in the order of
reception; such segments are leftovers once it is there.  Times are UTC.  `value` holds numbers and truth values,
`text` strings and integers beyond 2^53; `type` says which (none, bool, int, float, str).  Called by `samples`.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from drivers.base import Quality, Sample
from journal.files import fsync_folder

__all__ = ("MAX_ROWS", "covered", "newest_per_point", "read_sealed", "seal")

MAX_BATCH_ROWS = 10_000  # handed to DuckDB at once
MAX_ROWS = 200_000  # of one answer, about 100 MB; the newest

_EXACT = 1 << 53  # integers up to here are exact as a double
_CONFIG: dict[str, str | bool | int | float | list[str]] = {"threads": "1", "memory_limit": "128MB"}
_COLUMNS = {
    "point_id": "VARCHAR",
    "type": "VARCHAR",
    "value": "DOUBLE",
    "text": "VARCHAR",
    "quality": "VARCHAR",
    "reason": "VARCHAR",
    "received": "TIMESTAMP",
    "monotonic_ns": "BIGINT",
    "source": "TIMESTAMP",
    "server": "TIMESTAMP",
    "clock_trusted": "BOOLEAN",
    "historical": "BOOLEAN",
    "test": "BOOLEAN",
    "substituted": "BOOLEAN",
}


def covered(folder: Path) -> dict[str, int]:
    """By hour, up to which number its segments are sealed."""
    found: dict[str, int] = {}
    for path in folder.glob("*.parquet"):
        hour, number, _ = path.name.split(".")
        found[hour] = max(found.get(hour, -1), int(number))
    return found


def seal(target: Path, batches: Iterable[Sequence[Sample]]) -> None:
    """Write these samples to one file, atomically.  Raises OSError, also where DuckDB fails."""
    draft = target.with_suffix(".new")
    insert = "INSERT INTO sample SELECT " + ",".join(f"unnest(?::{kind}[])" for kind in _COLUMNS.values())
    try:
        with duckdb.connect(config=_CONFIG) as connection:
            connection.execute(f"CREATE TABLE sample({','.join(f'{name} {_COLUMNS[name]}' for name in _COLUMNS)})")
            for batch in batches:
                for at in range(0, len(batch), MAX_BATCH_ROWS):
                    rows = [_row(sample) for sample in batch[at : at + MAX_BATCH_ROWS]]
                    connection.execute(insert, [list(column) for column in zip(*rows, strict=True)])
            name = str(draft).replace("'", "''")
            connection.execute(f"COPY sample TO '{name}' (FORMAT parquet, COMPRESSION zstd)")
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.rename(target)
        fsync_folder(target.parent)
    except duckdb.Error as err:
        raise OSError(f"{target}: samples could not be sealed: {err}") from err
    finally:
        draft.unlink(missing_ok=True)


def read_sealed(paths: Sequence[Path], point_ids: Collection[str], since: datetime, until: datetime) -> list[Sample]:
    """Samples of these points received in between, oldest first.  Raises OSError where a file cannot be read."""
    condition = "WHERE list_contains(?, point_id) AND received BETWEEN ? AND ?"
    return _read(paths, condition, [sorted(point_ids), _naive(since), _naive(until)])


def newest_per_point(paths: Sequence[Path], count: int) -> list[Sample]:
    """The newest samples of each point, oldest first.  Raises OSError where a file cannot be read."""
    condition = "QUALIFY row_number() OVER (PARTITION BY point_id ORDER BY received DESC) <= ?"
    return _read(paths, condition, [count])


def _read(paths: Sequence[Path], condition: str, arguments: list[Any]) -> list[Sample]:
    if not paths:
        return []
    sql = f"SELECT {','.join(_COLUMNS)} FROM read_parquet(?) {condition} ORDER BY received DESC LIMIT {MAX_ROWS}"  # noqa: S608
    try:
        with duckdb.connect(config=_CONFIG) as connection:
            rows = connection.execute(sql, [[str(path) for path in paths], *arguments]).fetchall()
    except duckdb.Error as err:
        raise OSError(f"sealed samples could not be read: {err}") from err
    return [_sample(row) for row in reversed(rows)]


def _row(s: Sample) -> tuple[Any, ...]:
    kind = type(s.value).__name__ if s.value is not None else "none"
    as_text = isinstance(s.value, str) or (isinstance(s.value, int) and abs(s.value) > _EXACT)
    number = None if s.value is None or as_text else float(s.value)
    text = str(s.value) if as_text else None
    times = (_naive(s.received_time), s.monotonic_ns, _naive(s.source_time), _naive(s.server_time))
    flags = (s.clock_trusted, s.historical, s.test, s.substituted)
    return (s.point_id, kind, number, text, s.quality.value, s.reason, *times, *flags)


def _sample(row: tuple[Any, ...]) -> Sample:
    point_id, kind, number, text, quality, reason, received, monotonic_ns, source, server, *flags = row
    value = number if text is None else text
    match kind:
        case "bool":
            value = bool(value)
        case "int":
            value = int(value)
    clock_trusted, historical, test, substituted = flags
    return Sample(
        point_id=point_id,
        value=value,
        quality=Quality(quality),
        reason=reason,
        received_time=_aware(received),
        monotonic_ns=monotonic_ns,
        source_time=None if source is None else _aware(source),
        server_time=None if server is None else _aware(server),
        clock_trusted=clock_trusted,
        historical=historical,
        test=test,
        substituted=substituted,
    )


def _naive(time: datetime | None) -> Any:
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)


def _aware(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC)
