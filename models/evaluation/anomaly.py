"""Scores the anomaly detectors on runs of a machine with labelled anomalies: a folder of CSV files in, ratios out.

Layout: `;` separated files in subfolders (valve1, valve2, other, …), columns `datetime`, the sensors in any unit,
`anomaly` (0 or 1), `changepoint`.  Files without labels are passed over.

The protocol: a detector is fitted on the first `FIT_ROWS` rows of a file and then shown the rest, one row at a time, so
that it can know neither the row's number nor what follows; labels, times and change points it never gets.  A file with
an anomaly among the first `FIT_ROWS` rows is left out by name.  Rows of all files are pooled; an anomaly counts row by
row, without point adjustment.  F1 is of the anomalous rows; FAR is the share of normal rows that were called
anomalous, MAR the share of anomalous rows that were not.

What a mere clock would score stands beside: the anomalies of such collections begin at like row numbers.  So each score
is repeated with a random number of normal rows put before the scored ones, or taken away from their beginning.
Called by `blackstart eval anomaly`.
"""

import csv
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from drivers.errors import BadInput

__all__ = ("FIT_ROWS", "Detect", "Fit", "Run", "evaluate", "load_runs", "score")

FIT_ROWS = 400
PREFIX_ROWS = 300  # at most so many normal rows come or go before the scored ones
PREFIX_ROUNDS = 3
SEED = 1
CLOCK_ROWS = (573, 974)  # where the anomalies of the development files lie, roughly
MAX_FILES = 1000
MAX_ROWS = 100_000  # a day at one row a second
NOT_SENSORS = frozenset({"datetime", "anomaly", "changepoint"})

Matrix: TypeAlias = npt.NDArray[np.float64]
Truth: TypeAlias = npt.NDArray[np.bool_]
Detect: TypeAlias = Callable[[Matrix], bool]
"""Called once per row in time order: (sensors,) → is it anomalous."""
Fit: TypeAlias = Callable[[Matrix], Detect]
"""Commissioning rows (rows, sensors) → a detector that begins afresh."""


@dataclass(frozen=True, slots=True)
class Run:
    """One file: `fitted` are its first `FIT_ROWS` rows, `rows` the rest, `truth` says which of these are anomalous."""

    name: str
    sensors: tuple[str, ...]
    fitted: Matrix  # (FIT_ROWS, sensors)
    rows: Matrix  # (rows, sensors)
    truth: Truth  # (rows,)
    first_row: int = FIT_ROWS  # number of the first of `rows`; the baseline `clock` alone may look at it


@dataclass(frozen=True, slots=True)
class Loaded:
    """The runs that can be scored, and the files that cannot, with the reason."""

    runs: tuple[Run, ...]
    left_out: Mapping[str, str]


def load_runs(folder: Path) -> Loaded:
    """Read every CSV file below `folder`.  Raises BadInput naming file, line and column, or where nothing is usable."""
    paths = sorted(folder.rglob("*.csv"), key=lambda path: [_natural(part) for part in path.parts])
    if not paths:
        raise BadInput(f"{folder}: no *.csv below it")
    if len(paths) > MAX_FILES:
        raise BadInput(f"{folder}: {len(paths)} files, at most {MAX_FILES} are taken")
    runs: list[Run] = []
    left_out: dict[str, str] = {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        run = _load_run(path, name)
        if isinstance(run, Run):
            runs.append(run)
        else:
            left_out[name] = run
    if not runs:
        raise BadInput(f"{folder}: nothing to score: " + "; ".join(f"{k}: {v}" for k, v in left_out.items())[:500])
    return Loaded(tuple(runs), left_out)


def evaluate(runs: Sequence[Run], detectors: Mapping[str, Fit], best: str) -> dict[str, Any]:
    """Figures of every detector, of `best` and of the baselines, by name; all of them ratios from 0 to 1.

    `random_prefix` holds the figures of the worst of `PREFIX_ROUNDS` seeded rounds, and how far F1 fell below that
    without; `ms_per_row` is the mean cost of judging one row.  Raises BadInput where all rows are of one kind.
    """
    truth = np.concatenate([run.truth for run in runs])
    if truth.all() or not truth.any():
        raise BadInput("the rows to score are all of one kind: both normal and anomalous ones are needed")
    rounds = [[_with_prefix(run, number) for run in runs] for number in range(PREFIX_ROUNDS)]
    report: dict[str, Any] = {}
    for name, fit in detectors.items():
        began_s = time.perf_counter()
        detects = [fit(run.fitted) for run in runs]
        fitted_s = time.perf_counter()
        plain = _pooled([(said(detect, run.rows), run.truth) for detect, run in zip(detects, runs, strict=True)])
        judged_s = time.perf_counter()
        plain["ms_per_row"] = round((judged_s - fitted_s) * 1e3 / sum(len(run.rows) for run in runs), 4)
        plain["s_per_fit"] = round((fitted_s - began_s) / len(runs), 4)
        report[name] = plain | _prefixed(plain, [score(batch, fit) for batch in rounds])
    report["best"] = {"detector": best, **report[best]}
    for name, baseline in (("clock", _clock), ("always", _always)):
        plain = _pooled([(baseline(run), run.truth) for run in runs])
        report[name] = plain | _prefixed(
            plain, [_pooled([(baseline(run), run.truth) for run in batch]) for batch in rounds]
        )
    return report | {"files": [run.name for run in runs], "rows": len(truth), "anomalous_rows": int(truth.sum())}


def score(runs: Sequence[Run], fit: Fit) -> dict[str, Any]:
    """F1, FAR and MAR of one detector over all rows of all runs."""
    return _pooled([(said(fit(run.fitted), run.rows), run.truth) for run in runs])


def said(detect: Detect, rows: Matrix) -> Truth:
    """What a detector says of each row, in order."""
    return np.array([detect(row) for row in rows], dtype=np.bool_)


def _prefixed(plain: Mapping[str, Any], rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    worst = min(rounds, key=lambda figures: figures["f1"])
    return {"random_prefix": {**worst, "f1_fall": round(plain["f1"] - worst["f1"], 4)}}


def _with_prefix(run: Run, number: int) -> Run:
    """The run with normal rows, those before the scored ones, put in front once more, or with its first ones gone."""
    draw = random.Random(f"{SEED}/{number}/{run.name}")  # noqa: S311 - reproducible, not secret
    count = draw.randint(0, PREFIX_ROWS)
    if draw.random() < 0.5:  # noqa: PLR2004 - as often one way as the other
        return replace(
            run,
            rows=np.vstack([run.fitted[len(run.fitted) - count :], run.rows]),
            truth=np.concatenate([np.zeros(count, dtype=np.bool_), run.truth]),
        )
    normal = int(np.argmax(run.truth)) if run.truth.any() else len(run.truth) - 1
    count = min(count, normal)
    return replace(run, rows=run.rows[count:], truth=run.truth[count:])


def _clock(run: Run) -> Truth:
    number = run.first_row + np.arange(len(run.truth))
    inside: Truth = (number >= CLOCK_ROWS[0]) & (number < CLOCK_ROWS[1])
    return inside


def _always(run: Run) -> Truth:
    return np.ones(len(run.truth), dtype=np.bool_)


def _pooled(pairs: Sequence[tuple[Truth, Truth]]) -> dict[str, Any]:
    called = np.concatenate([pair[0] for pair in pairs])
    truth = np.concatenate([pair[1] for pair in pairs])
    hits, false, missed = (int(np.sum(each)) for each in (called & truth, called & ~truth, ~called & truth))
    normal = int(np.sum(~truth))
    return {
        "f1": _ratio(2 * hits, 2 * hits + false + missed),
        "far": _ratio(false, normal),
        "mar": _ratio(missed, hits + missed),
    }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _load_run(path: Path, name: str) -> Run | str:
    """The run, or why it is left out."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, delimiter=";")
            header = next(lines, [])
            if "anomaly" not in header:
                return "has no column anomaly"
            sensors = tuple(column for column in header if column not in NOT_SENSORS)
            wanted = [header.index(column) for column in (*sensors, "anomaly")]
            cells = [_numbers(path, lines.line_num, row, header, wanted) for row in lines if row]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise BadInput(f"{path}: cannot be read as CSV: {err}") from err
    if not FIT_ROWS < len(cells) <= MAX_ROWS:
        return f"has {len(cells)} rows, more than {FIT_ROWS} and at most {MAX_ROWS} are needed"
    if len(sensors) < 2:  # noqa: PLR2004 - one signal has nothing to be compared with
        return f"has {len(sensors)} sensors, at least 2 are needed"
    table = np.array(cells)
    matrix, truth = table[:, :-1], table[:, -1] > 0
    if truth[:FIT_ROWS].any():
        return f"has anomalies among its first {FIT_ROWS} rows"
    return Run(name, sensors, matrix[:FIT_ROWS], matrix[FIT_ROWS:], truth[FIT_ROWS:])


def _numbers(path: Path, line: int, row: Sequence[str], header: Sequence[str], wanted: Sequence[int]) -> list[float]:
    if len(row) != len(header):
        raise BadInput(f"{path}: line {line}: {len(row)} cells, the header has {len(header)}")
    values = []
    for index in wanted:
        try:
            value = float(row[index])
        except ValueError:
            value = float("nan")
        if not isfinite(value):
            raise BadInput(f"{path}: line {line}, column {header[index]}: {row[index]!r} is no finite number")
        values.append(value)
    return values


def _natural(text: str) -> list[tuple[int, str]]:
    """A key that puts 2.csv before 10.csv."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]
