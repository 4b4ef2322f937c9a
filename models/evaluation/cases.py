"""Reads labelled dissolved-gas samples from a CSV.

Columns: H2, CH4, C2H6, C2H4, C2H2 in µL/L (0 = not detected); `fault`, one of PD, D1, D2, T1, T2, T3, T12 (T1 or T2)
and N (normal); `origin` where it is known.  Others are ignored.
Called by `models.evaluation.dga` and `models.training.dga`.
"""

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np

from drivers.errors import BadInput
from models.dga.batch import Amounts
from models.dga.gases import MAX_UL_L

__all__ = ("COLUMNS", "LABELS", "Cases", "load_cases")

COLUMNS = ("H2", "CH4", "C2H6", "C2H4", "C2H2")  # as `FAULT_GASES`
LABELS = ("PD", "D1", "D2", "T1", "T2", "T3", "T12", "N")
MAX_BYTES = 64 << 20  # half a million samples: more than have ever been published


@dataclass(frozen=True, slots=True)
class Cases:
    """Rows of one file, in its order."""

    amounts: Amounts  # (n, 5), µL/L
    labels: tuple[str, ...]
    origins: tuple[str, ...]  # empty where the file does not say
    sha256: str  # of the file


def load_cases(path: Path) -> Cases:
    """Read a file, strictly.  Raises BadInput naming file, line (as a text editor counts) and column."""
    try:
        with path.open("rb") as file:
            blob = file.read(MAX_BYTES + 1)
        text = blob.decode("utf-8-sig")
    except OSError as err:
        raise BadInput(f"{path}: cannot be read: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise BadInput(f"{path}: is no UTF-8 text: {err.reason} at byte {err.start}") from err
    if len(blob) > MAX_BYTES:
        raise BadInput(f"{path}: larger than {MAX_BYTES} bytes")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(lines, [])]
        columns = _columns(path, header)
        rows = [_row(path, lines.line_num, cells, columns, len(header)) for cells in lines if cells]
    except csv.Error as err:
        raise BadInput(f"{path}: line {lines.line_num}: is no CSV: {err}") from err
    if not rows:
        raise BadInput(f"{path}: no row below its header")
    return Cases(
        amounts=np.array([amounts for amounts, _, _ in rows]),
        labels=tuple(label for _, label, _ in rows),
        origins=tuple(origin for _, _, origin in rows),
        sha256=hashlib.sha256(blob).hexdigest(),
    )


def _columns(path: Path, header: list[str]) -> Mapping[str, int]:
    """Column name → index."""
    wanted = (*COLUMNS, "fault")
    if missing := [name for name in wanted if name not in header]:
        raise BadInput(f"{path}: line 1: lacks the columns {', '.join(missing)}; needed are {', '.join(wanted)}")
    if doubled := sorted({name for name in wanted if header.count(name) > 1}):
        raise BadInput(f"{path}: line 1: columns named twice: {', '.join(doubled)}")
    return {name: header.index(name) for name in (*wanted, "origin") if name in header}


def _row(
    path: Path, line: int, cells: list[str], columns: Mapping[str, int], width: int
) -> tuple[list[float], str, str]:
    if len(cells) != width:
        raise BadInput(f"{path}: line {line}: {len(cells)} cells, the header has {width}")
    amounts = []
    for name in COLUMNS:
        cell = cells[columns[name]].strip()
        try:
            value = float(cell)
        except ValueError as err:
            raise BadInput(f"{path}: line {line}, column {name}: {cell!r} is no number; write 0 for none") from err
        if not isfinite(value) or not 0 <= value <= MAX_UL_L:
            raise BadInput(f"{path}: line {line}, column {name}: {cell!r} is no concentration (0 to {MAX_UL_L:g} uL/L)")
        amounts.append(value)
    label = cells[columns["fault"]].strip()
    if label not in LABELS:
        raise BadInput(f"{path}: line {line}, column fault: {label!r} is none of {', '.join(LABELS)}")
    return amounts, label, cells[columns["origin"]].strip() if "origin" in columns else ""
