"""Runs one leg of the journal benchmark in a process of its own, and makes medians of several.

A leg is a program of this folder that prints one JSON line.  `Bench` knows the two interpreters, the disk's and the
memory's folder, and gives each leg a fresh state folder.  Called by `__main__` alone.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ("PEER_PYTHON", "ROOT", "Bench", "LegFailed", "Result", "summary")

ROOT = Path(__file__).resolve().parents[2]
PEER_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
LEG_TIMEOUT_S = 1_200.0
FLUSH_CALLS = "fsync,fdatasync,sync,syncfs,sync_file_range,msync"

Result = dict[str, Any]


class LegFailed(Exception):
    """A leg ended without its line; carries the end of what it said instead."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where to run."""

    disk: Path
    memory: Path

    def leg(self, program: str, *arguments: object, folder: Path | None = None, on_disk: bool = True) -> Result:
        """One leg in a fresh folder, or in the one given."""
        if folder is not None:
            return self._run(self._command(program, folder, *arguments))
        with tempfile.TemporaryDirectory(dir=self.disk if on_disk else self.memory) as fresh:
            return self._run(self._command(program, Path(fresh), *arguments))

    def timed_leg(self, program: str, *arguments: object, folder: Path) -> Result:
        """A leg that is told when its process was asked for."""
        command = self._command(program, folder, *arguments)
        return self._run([*command, "--since", repr(time.monotonic())])

    def flushes(self, program: str, *arguments: object, steps: tuple[int, int]) -> float | None:
        """Flushes a step, from the difference of two lengths; None without strace."""
        if shutil.which("strace") is None:
            return None
        counts = []
        for number in steps:
            with tempfile.TemporaryDirectory(dir=self.disk) as fresh:
                trace = Path(fresh) / "trace"
                state = Path(fresh) / "state"
                state.mkdir()
                command = self._command(program, state, *arguments, "--steps", number)
                self._run(["strace", "-f", "-qq", "-e", f"trace={FLUSH_CALLS}", "-o", str(trace), *command])
                lines = trace.read_text(errors="replace").splitlines()
                counts.append(
                    sum(re.search(rf"\b({FLUSH_CALLS.replace(',', '|')})\(", line) is not None for line in lines)
                )
        return (counts[1] - counts[0]) / (steps[1] - steps[0])

    def fill(self, program: str, *arguments: object, folder: Path) -> None:
        """A leg that says it is ready and then is killed, or kills itself."""
        process = subprocess.Popen(
            self._command(program, folder, *arguments), stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        if "ready" not in line:
            raise LegFailed(f"{program} {arguments} ended while it filled its folder")

    def _command(self, program: str, folder: Path, *arguments: object) -> list[str]:
        python = str(PEER_PYTHON) if program == "dbos_peer" else sys.executable
        return [python, "-m", f"benchmarks.durable.{program}", str(folder), *map(str, arguments)]

    def _run(self, command: list[str]) -> Result:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LEG_TIMEOUT_S, check=False, cwd=ROOT)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode != 0 or not lines:
            raise LegFailed(f"{' '.join(command[2:])}: exit {done.returncode}: {done.stderr[-600:]}")
        found: Result = json.loads(lines[-1])
        return found


def summary(rounds: list[Result]) -> Result:
    """Of each number its median, smallest and largest."""
    return {
        name: {
            "median": statistics.median(values),
            "min": min(values),
            "max": max(values),
            "rounds": len(values),
        }
        for name in rounds[0]
        if (values := [one[name] for one in rounds])
    }
