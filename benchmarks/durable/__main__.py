"""The journal beside its peers: durable steps, their cost, recovery, and a journal that has grown.

    python -m benchmarks.durable [--rounds 5] [--full] [--folder DIR] [--only steps,cpu,flushes,recovery,growth]

Peers run in the same rounds, in turn, because a disk's flush time drifts by a factor of ten between minutes: DBOS on
SQLite as it comes (`default`) and with WAL and full synchronisation (`full`), a bare DuckDB commit, and append +
fdatasync.  Each leg is a process of its own on a fresh folder.  Prints a table, keeps everything under
`benchmarks/results/`, and ends with one line `BENCH {json}`; what was not measured is null there.  CPU is measured
on a memory file system, where the disk hides nothing.  Without `.venv-bench` (made by `make bench-journal`) the DBOS
columns are not measured.  `--full` grows the journal to 10^7 rows, else to 10^6.
"""

import argparse
import datetime as dt
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.durable.legs import PEER_PYTHON, ROOT, Bench, LegFailed, Result, summary

RESULTS = ROOT / "benchmarks" / "results"
STEPS = 500  # a leg on the disk
STEPS_WIDE = 1_600
STEPS_CPU = 2_000
STEPS_GROWN = 2_500  # one checkpoint within
FLUSH_STEPS = (200, 2_400)  # one checkpoint in the difference
PEER_FLUSH_STEPS = (50, 250)
PENDING = (1, 100, 1_000)
PARTS = ("steps", "cpu", "flushes", "recovery", "growth")

STEP_LEGS: dict[str, tuple[Any, ...]] = {
    "append + fdatasync": ("limits", "append", "--steps", STEPS),
    "bare DuckDB commit": ("limits", "duckdb", "--steps", STEPS),
    "ours, one run": ("ours", "rate", "--shape", "one", "--steps", STEPS),
    "DBOS full, one run": ("dbos_peer", "rate", "--mode", "full", "--shape", "one", "--steps", STEPS),
    "DBOS full, one run, sync": ("dbos_peer", "rate", "--mode", "full", "--shape", "sync", "--steps", STEPS),
    "DBOS default, one run": ("dbos_peer", "rate", "--mode", "default", "--shape", "one", "--steps", STEPS),
    "ours, 16 runs": ("ours", "rate", "--shape", "runs", "--steps", STEPS_WIDE),
    "ours, 16 branches": ("ours", "rate", "--shape", "branches", "--steps", STEPS_WIDE),
    "DBOS full, 16 runs": ("dbos_peer", "rate", "--mode", "full", "--shape", "runs", "--steps", STEPS),
    "DBOS full, 16 branches": ("dbos_peer", "rate", "--mode", "full", "--shape", "branches", "--steps", STEPS),
    "DBOS default, 16 runs": ("dbos_peer", "rate", "--mode", "default", "--shape", "runs", "--steps", STEPS),
}
CPU_LEGS: dict[str, tuple[Any, ...]] = {
    "bare DuckDB commit": ("limits", "duckdb", "--steps", STEPS_CPU),
    "ours, one run": ("ours", "rate", "--shape", "one", "--steps", STEPS_CPU),
    "ours, 16 runs": ("ours", "rate", "--shape", "runs", "--steps", STEPS_CPU),
    "DBOS full, one run": ("dbos_peer", "rate", "--mode", "full", "--shape", "one", "--steps", STEPS_CPU),
    "DBOS full, one run, sync": ("dbos_peer", "rate", "--mode", "full", "--shape", "sync", "--steps", STEPS_CPU),
}


def note(text: str) -> None:
    """Progress, to standard error."""
    sys.stderr.write(f"{text}\n")


def in_turn(legs: dict[str, Callable[[], Result]], rounds: int) -> dict[str, Result]:
    """Every leg once a round; one that fails is told and left out."""
    found: dict[str, list[Result]] = {name: [] for name in legs}
    for number in range(rounds):
        for name, leg in legs.items():
            try:
                found[name].append(leg())
            except LegFailed as err:
                note(f"NOT MEASURED in this round: {name}: {err}")
        note(f"round {number + 1}/{rounds} of {len(legs)} legs")
    return {name: summary(results) for name, results in found.items() if results}


def measured(legs: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    """Without the peers that are not installed."""
    return {name: leg for name, leg in legs.items() if leg[0] != "dbos_peer" or PEER_PYTHON.exists()}


def steps(bench: Bench, rounds: int) -> dict[str, Result]:
    """Durable steps on the disk."""
    return in_turn({name: lambda leg=leg: bench.leg(*leg) for name, leg in measured(STEP_LEGS).items()}, rounds)


def cpu(bench: Bench, rounds: int) -> dict[str, Result]:
    """CPU of a durable step, on memory."""
    legs = {name: lambda leg=leg: bench.leg(*leg, on_disk=False) for name, leg in measured(CPU_LEGS).items()}
    return in_turn(legs, rounds)


def flushes(bench: Bench, _rounds: int) -> dict[str, Result]:
    """Flushes a step, by strace."""
    asked: dict[str, tuple[tuple[Any, ...], tuple[int, int]]] = {
        "ours, one run": (("ours", "rate", "--shape", "one"), FLUSH_STEPS),
        "ours, 16 runs": (("ours", "rate", "--shape", "runs"), (160, 1_760)),
        "DBOS full, one run": (("dbos_peer", "rate", "--mode", "full"), PEER_FLUSH_STEPS),
        "DBOS default, one run": (("dbos_peer", "rate", "--mode", "default"), PEER_FLUSH_STEPS),
    }
    found = {}
    for name, (leg, lengths) in asked.items():
        if leg[0] != "dbos_peer" or PEER_PYTHON.exists():
            count = bench.flushes(*leg, steps=lengths)
            found[name] = {} if count is None else summary([{"flushes": count}])
    return found


def recovery(bench: Bench, rounds: int) -> dict[str, Result]:
    """From process start until every pending run goes on; each round on a copy of what the killed process left."""
    legs: dict[str, Callable[[], Result]] = {}
    with tempfile.TemporaryDirectory(dir=bench.disk) as parent:
        for program, label in (("ours", "ours"), ("dbos_peer", "DBOS full")):
            for runs in PENDING if program == "ours" or PEER_PYTHON.exists() else ():
                left = Path(parent) / f"{program}-{runs}"
                left.mkdir()
                note(f"filling {runs} pending runs of {label}")
                bench.fill(program, "pend", "--runs", runs, folder=left)
                legs[f"{label}, {runs} pending"] = lambda program=program, runs=runs, left=left: _recover(
                    bench, program, runs, left
                )
        return in_turn(legs, rounds)


def _recover(bench: Bench, program: str, runs: int, left: Path) -> Result:
    with tempfile.TemporaryDirectory(dir=bench.disk) as fresh:
        copy = Path(fresh) / "state"
        shutil.copytree(left, copy)
        os.sync()
        return bench.timed_leg(program, "resume", "--runs", runs, folder=copy)


def growth(bench: Bench, rounds: int, rows: tuple[int, ...]) -> dict[str, Result]:
    """Steps on journals of different size, on memory, in turn; and opening them."""
    with tempfile.TemporaryDirectory(dir=bench.memory) as parent:
        legs: dict[str, Callable[[], Result]] = {}
        sizes = {}
        for number in rows:
            folder = Path(parent) / str(number)
            folder.mkdir()
            note(f"growing a journal to {number} rows")
            sizes[number] = bench.leg("ours", "grow", "--rows", number, folder=folder)["file_mb"]
            legs[f"{number} rows"] = lambda folder=folder: _grown(bench, folder)
        found = in_turn(legs, rounds)
    for number, size_mb in sizes.items():
        found[f"{number} rows"]["file_mb"] = {"median": size_mb, "min": size_mb, "max": size_mb, "rounds": 1}
    return found


def _grown(bench: Bench, folder: Path) -> Result:
    opened = bench.timed_leg("ours", "open", folder=folder)
    stepped = bench.leg("ours", "rate", "--shape", "one", "--steps", STEPS_GROWN, folder=folder)
    return {
        "open_s": opened["open_s"],
        "open_rss_mb": opened["rss_mb"],
        "step_ms": 1e3 / stepped["per_s"],
        "cpu_ms": stepped["cpu_ms"],
        "rss_mb": stepped["rss_mb"],
    }


def median(found: dict[str, Any], part: str, name: str, value: str) -> float | None:
    """One number, None where it was not measured."""
    number: float | None = found.get(part, {}).get(name, {}).get(value, {}).get("median")
    return number


def ratio(over: float | None, under: float | None) -> float | None:
    """None where one of the two is missing."""
    return None if over is None or not under else over / under


def best(*numbers: float | None) -> float | None:
    """The largest of those measured: the peer in its fastest form."""
    return max((number for number in numbers if number is not None), default=None)


def headline(found: dict[str, Any]) -> dict[str, float | None]:
    """The figures by which the journal is judged."""
    rate = {name: median(found, "steps", name, "per_s") for name in STEP_LEGS}
    cost = {name: median(found, "cpu", name, "cpu_ms") for name in CPU_LEGS}
    one = rate["ours, one run"]
    ours_s = median(found, "recovery", "ours, 1000 pending", "all_s")
    small, large = median(found, "growth", "1000 rows", "step_ms"), median(found, "growth", "10000000 rows", "step_ms")
    memory = [
        median(found, "recovery", "ours, 1000 pending", "rss_mb"),
        median(found, "growth", "1000000 rows", "rss_mb"),
        median(found, "steps", "ours, one run", "rss_mb"),
    ]
    figures = {
        "sequential_vs_dbos_full": ratio(one, rate["DBOS full, one run"]),
        "sequential_vs_dbos_default": ratio(one, rate["DBOS default, one run"]),
        "concurrent16_vs_dbos_full": ratio(
            rate["ours, 16 runs"], best(rate["DBOS full, 16 runs"], rate["DBOS full, 16 branches"])
        ),
        "sequential_vs_append": ratio(one, rate["append + fdatasync"]),
        "cpu_per_step_vs_dbos": ratio(cost["DBOS full, one run"], cost["ours, one run"]),
        "cpu_per_step_vs_duckdb": ratio(cost["ours, one run"], cost["bare DuckDB commit"]),
        "fdatasync_p50_ms": median(found, "steps", "append + fdatasync", "fdatasync_p50_ms"),
        "flushes_per_step": median(found, "flushes", "ours, one run", "flushes"),
        "bytes_per_step": median(found, "steps", "ours, one run", "write_bytes"),
        "recover_1000_s": ours_s,
        "recover_1000_vs_dbos": ratio(median(found, "recovery", "DBOS full, 1000 pending", "all_s"), ours_s),
        "open_1e6_s": median(found, "growth", "1000000 rows", "open_s"),
        "rss_mb": best(*memory),
        "cost_1e7_vs_1e3": ratio(large, small),
    }
    return {name: None if value is None else round(value, 3) for name, value in figures.items()}


def beside(found: dict[str, Any]) -> dict[str, float | None]:
    """DBOS has steps without asyncio too, which are cheaper and block their thread: what the headline does not say."""
    name = "DBOS full, one run, sync"
    rate = ratio(median(found, "steps", "ours, one run", "per_s"), median(found, "steps", name, "per_s"))
    cost = ratio(median(found, "cpu", name, "cpu_ms"), median(found, "cpu", "ours, one run", "cpu_ms"))
    figures = {"sequential_vs_dbos_full_sync": rate, "cpu_per_step_vs_dbos_sync": cost}
    return {name: None if value is None else round(value, 3) for name, value in figures.items()}


def table(found: dict[str, Any]) -> str:
    """All of it for people: median (smallest to largest)."""
    lines = []
    for part, legs in found.items():
        lines.append(f"\n{part}")
        for name, values in legs.items():
            cells = [
                f"{value} {_number(s['median'])} ({_number(s['min'])}..{_number(s['max'])})"
                for value, s in values.items()
            ]
            lines.append(f"  {name:<28} {'; '.join(cells) or 'not measured'}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def machine(disk: Path) -> dict[str, Any]:
    """What the figures were measured on and with."""
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.partition(":")[2].strip() for line in cpus.splitlines() if line.startswith("model name")]
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    mount = max((m for m in mounts if disk.resolve().is_relative_to(m[1])), key=lambda m: len(m[1]))
    peer = ""
    if PEER_PYTHON.exists():
        code = "import dbos, sqlite3, importlib.metadata as m; print(m.version('dbos'), sqlite3.sqlite_version)"
        peer = subprocess.run([PEER_PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout
    dbos, sqlite = peer.split() or ("not measured", "not measured")
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "kernel": platform.release(),
        "disk": mount[0],
        "file_system": mount[2],
        "python": platform.python_version(),
        "duckdb": importlib.metadata.version("duckdb"),
        "dbos": dbos,
        "dbos_sqlite": sqlite,
        "strace": shutil.which("strace") is not None,
    }


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="grow the journal to 10^7 rows as well")
    parser.add_argument("--folder", type=Path, help="the disk to measure; by default that of temporary files")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    asked = parser.parse_args()
    rows = (1_000, 100_000, 1_000_000, *((10_000_000,) if asked.full else ()))
    shared = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=asked.folder) as disk, tempfile.TemporaryDirectory(dir=shared) as memory:
        bench = Bench(Path(disk), Path(memory))
        told = machine(bench.disk)
        note(json.dumps(told))
        found: dict[str, Any] = {}
        for part in asked.only.split(","):
            program: Callable[..., dict[str, Result]] = globals()[part]
            found[part] = program(bench, asked.rounds, rows) if part == "growth" else program(bench, asked.rounds)
    print(table(found))
    figures = headline(found)
    told["load_average_after"] = os.getloadavg()[0]
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"journal-{told['date'][:16].replace(':', '')}.json"
    path.write_text(
        json.dumps({"machine": told, "figures": figures, "beside": beside(found), "measured": found}, indent=1) + "\n",
        "utf-8",
    )
    print("\n" + ", ".join(f"{name} {value}" for name, value in beside(found).items()))
    print(f"fdatasync p50 {figures['fdatasync_p50_ms']} ms; kept in {path.relative_to(ROOT)}")
    print("BENCH " + json.dumps(figures))


if __name__ == "__main__":
    main()
