"""A record of step bodies outside the journal: what really ran, for proofs that nothing finished ran twice.

One line per event, appended with one write, so that it survives the death of the process: `start|done run key pid`.
"""

import os
from pathlib import Path

__all__ = ("Ledger",)


class Ledger:
    """A step observer that appends to a file."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def step_started(self, run_id: str, step_key: str) -> None:
        """A body is about to run."""
        self._write("start", run_id, step_key)

    def step_committed(self, run_id: str, step_key: str) -> None:
        """Its outcome is durable."""
        self._write("done", run_id, step_key)

    def _write(self, event: str, run_id: str, step_key: str) -> None:
        os.write(self._fd, f"{event}\t{run_id}\t{step_key}\t{os.getpid()}\n".encode())
