"""Numbers from CSV files: named columns in, floats out, every bad row named with file and line.

Called by `hil_sim.replay`.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hil_sim.errors import SimError

__all__ = ("BadRow", "Table", "read_table")

MAX_ROWS = 1_000_000  # far above a century of hours


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be played: 0-based data row, 1-based line of the file, and why."""

    row: int
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of numbers by 0-based data row, and the rows that were refused."""

    rows: dict[int, tuple[float, ...]]
    refused: tuple[BadRow, ...]


def read_table(path: Path, columns: Sequence[str], *, low: float = -math.inf) -> Table:
    """Read these columns; a number that is missing, not finite or below `low` makes its row a BadRow.

    Raises SimError when the file cannot be read, lacks a column or has too many rows.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return _read(path, csv.DictReader(file), columns, low)
    except OSError as err:
        raise SimError(f"{path}: cannot be read: {err.strerror}") from err
    except (csv.Error, UnicodeDecodeError) as err:
        raise SimError(f"{path}: not a CSV file in UTF-8: {err}") from err


def _read(path: Path, reader: "csv.DictReader[str]", columns: Sequence[str], low: float) -> Table:
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise SimError(f"{path}:1: no column {', '.join(missing)}; needed: {', '.join(columns)}")
    rows: dict[int, tuple[float, ...]] = {}
    refused: list[BadRow] = []
    for row, record in enumerate(reader):
        if row >= MAX_ROWS:
            raise SimError(f"{path}:{reader.line_num}: more than {MAX_ROWS} rows")
        values = tuple(_number(record[column]) for column in columns)
        bad = [f"{c} = {record[c]!r}" for c, value in zip(columns, values, strict=True) if not low <= value < math.inf]
        if bad:
            refused.append(BadRow(row, reader.line_num, "not a usable number: " + ", ".join(bad)))
        else:
            rows[row] = values
    return Table(rows, tuple(refused))


def _number(text: str | None) -> float:
    """The number, or NaN, which no comparison accepts."""
    try:
        return float(text or "")
    except ValueError:
        return math.nan
