"""Laboratory analyses of oil: CSV text in, checked samples out, and what the limits say of each.

Columns, in any order: `asset`, `time` (ISO 8601 with offset, or a date, which counts as 00:00 UTC), `lab`, and the
gases `H2 CH4 C2H6 C2H4 C2H2` with, where they were measured, `CO CO2 O2 N2`, in µL gas per L oil at the laboratory's
reference conditions; a gas's name may carry its unit, `H2_ppm` or `H2_ul_l`.  A value with `<` was below the
detection limit and counts as 0; an empty one was not measured, which only CO, CO2, O2 and N2 may be.
Samples of laboratories are what the tables of IEEE C57.104 were made from: deltas and rates are taken from them as
they are.  Called by `gateway.laboratory`.
"""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, AwareDatetime

from drivers.base import Frozen, Name
from drivers.errors import BadInput
from models.asset import Nameplate
from models.dga.gases import MAX_UL_L, DatedGases, Gases
from models.dga.limits import Limits, c57_104_status

__all__ = ("ROWS_MAX", "LabSample", "judge_newest", "parse_samples")

ROWS_MAX = 1_000  # of one file: a fleet of a hundred machines, ten years of samples each
JUDGED_MAX = 60  # samples behind one rate: the two years of table 4, more than twice a month
ERRORS_SHOWN = 50  # of one file; more say nothing new
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD_MAX = timedelta(days=1)  # that a sample may be dated ahead of the gateway's clock: a date in another time zone

_WORDS = ("asset", "time", "lab")
_NEEDED = ("h2", "ch4", "c2h6", "c2h4", "c2h2")
_OPTIONAL = ("co", "co2", "o2", "n2")

_LABORATORY = re.compile(r"[\w .,&()-]{1,40}")

_Cells: TypeAlias = Mapping[str, str]


def _laboratory(name: str) -> str:
    if not _LABORATORY.fullmatch(name):
        raise ValueError("1 to 40 letters, digits, spaces and . , & ( ) - are a laboratory's name")
    return name


class LabSample(Frozen):
    """One analysis of one machine's oil."""

    asset_id: Name
    taken: AwareDatetime
    laboratory: Annotated[str, AfterValidator(_laboratory)]
    gases: Gases

    @property
    def key(self) -> str:
        """What makes it one: the same machine, time and laboratory is the same sample."""
        return f"{self.asset_id}/{self.taken.astimezone(UTC).isoformat()}/{self.laboratory}"


def parse_samples(text: str, assets: Collection[str], now: datetime | None) -> list[LabSample]:
    """The samples of a CSV text, in its order; without `now`, while no clock can be trusted, none lies in the future.

    Raises BadInput with every error of it, one a line: line number, column, what is wrong and what would be right.
    """
    reader = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), strict=True)
    try:
        header, *rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as err:
        raise BadInput(f"line {reader.line_num}: no CSV: {err}") from err
    except ValueError as err:
        raise BadInput(f"no rows; the first line names the columns {_listed()}") from err
    columns = [_column(cell) for cell in header[1]]
    errors = [f"line {header[0]}: {problem}" for problem in _header_problems(columns, header[1])]
    if len(rows) > ROWS_MAX:
        errors.append(f"{len(rows)} rows; a file has at most {ROWS_MAX}")
    samples: list[LabSample] = []
    first_line: dict[str, int] = {}
    for line, row in rows if not errors else ():
        if len(row) != len(columns):
            errors.append(f"line {line}: {len(row)} cells; the first line names {len(columns)} columns")
            continue
        sample, problems = _sample(dict(zip(columns, map(str.strip, row), strict=True)), assets, now)
        if sample is not None and line != first_line.setdefault(sample.key, line):
            problems.append(f"the same asset, time and lab as line {first_line[sample.key]}")
        errors += [f"line {line}: {problem}" for problem in problems]
        samples += [sample] if sample else []
    if errors:
        more = [f"and {len(errors) - ERRORS_SHOWN} more"] if len(errors) > ERRORS_SHOWN else []
        raise BadInput("\n".join([f"{len(errors)} error(s), nothing was taken:", *errors[:ERRORS_SHOWN], *more]))
    return samples


def judge_newest(samples: Sequence[LabSample], nameplate: Nameplate) -> Limits:
    """Status by tables 1 to 4 of the last of one machine's samples, oldest first; at least one."""
    history = [DatedGases(taken=sample.taken, gases=sample.gases) for sample in samples[-JUDGED_MAX:]]
    return c57_104_status(samples[-1].gases, nameplate, history=history)


def _column(cell: str) -> str:
    return cell.strip().lower().removesuffix("_ppm").removesuffix("_ul_l")


def _header_problems(columns: Sequence[str], cells: Sequence[str]) -> Iterator[str]:
    known = (*_WORDS, *_NEEDED, *_OPTIONAL)
    for column, cell in zip(columns, cells, strict=True):
        if column not in known:
            yield f"column {cell.strip()[:40]!r} is not known; columns are {_listed()}"
    for column in dict.fromkeys(columns):
        if columns.count(column) > 1:
            yield f"column {column!r} is there twice"
    for column in (*_WORDS, *_NEEDED):
        if column not in columns:
            yield f"column {column!r} is missing"


def _listed() -> str:
    gases = " ".join(gas.upper() for gas in _NEEDED)
    return f"{' '.join(_WORDS)} {gases} and, where measured, {' '.join(gas.upper() for gas in _OPTIONAL)}, in uL/L"


def _sample(cells: _Cells, assets: Collection[str], now: datetime | None) -> tuple[LabSample | None, list[str]]:
    """One row; None with what is wrong in it."""
    problems: list[str] = []
    if cells["asset"] not in assets:
        problems.append(
            f"asset: {cells['asset'][:40]!r} is no configured power transformer; there are: {', '.join(sorted(assets))}"
        )
    taken = _taken(cells["time"], now, problems)
    try:
        _laboratory(cells["lab"])
    except ValueError as err:
        problems.append(f"lab: {err}")
    values = {f"{gas}_ul_l": _concentration(gas, cells.get(gas, ""), problems) for gas in (*_NEEDED, *_OPTIONAL)}
    known = {"asset_id": cells["asset"], "taken": taken, "laboratory": cells["lab"], "gases": values}
    return (None if problems else LabSample.model_validate(known)), problems


def _taken(cell: str, now: datetime | None, problems: list[str]) -> datetime:
    try:
        taken = datetime.fromisoformat(cell)
    except ValueError:
        problems.append(f"time: {cell[:40]!r} is no time; right is 2026-03-01T10:30+01:00 or 2026-03-01")
        return EARLIEST
    if taken.tzinfo is None and cell == date.isoformat(taken.date()):
        taken = taken.replace(tzinfo=UTC)
    if taken.tzinfo is None:
        problems.append(f"time: {cell[:40]!r} has no offset; right is 2026-03-01T10:30+01:00 or a date alone")
    elif taken < EARLIEST or (now is not None and taken > now + AHEAD_MAX):
        problems.append(f"time: {cell[:40]!r} lies in the future or before {EARLIEST.year}")
    return taken


def _concentration(gas: str, cell: str, problems: list[str]) -> float | None:
    if not cell:
        if gas in _NEEDED:
            problems.append(f"{gas.upper()}: is empty; where it was not detected write 0 or <limit")
        return None
    try:
        value = float(cell.removeprefix("<"))
    except ValueError:
        problems.append(f"{gas.upper()}: {cell[:40]!r} is no number; a decimal point is '.'")
        return None
    if not 0 <= value <= MAX_UL_L:  # NaN too
        problems.append(f"{gas.upper()}: {cell[:40]!r} is no concentration; it is 0 to {MAX_UL_L:g} uL/L")
    return 0.0 if cell.startswith("<") else value
