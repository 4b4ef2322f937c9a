"""What one leg of the journal benchmark costs: wall and CPU time, bytes written, peak memory.

Only the standard library: the peers' environments import it too.  Times in seconds, sizes in bytes; CPU is that of
all threads of the process.  `say` prints the one JSON line that the parent reads.
"""

import json
import os
import resource
import time
from pathlib import Path
from typing import Any, Self

__all__ = ("Meter", "peak_rss_mb", "say")


class Meter:
    """Measures what happens within its `with`."""

    def __enter__(self) -> Self:
        self._io = _written()
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.perf_counter() - self._wall_s
        self.cpu_s = time.process_time() - self._cpu_s
        after = _written()
        self.written = {name: after[name] - self._io[name] for name in after}

    def per(self, count: int) -> dict[str, float]:
        """Per step, of `count` steps."""
        return {
            "per_s": count / self.wall_s,
            "cpu_ms": self.cpu_s * 1e3 / count,
            "write_bytes": self.written["write_bytes"] / count,  # pages that go to the device
            "wchar": self.written["wchar"] / count,  # what the program handed to write()
            "rss_mb": peak_rss_mb(),
        }


def peak_rss_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def say(result: dict[str, Any]) -> None:
    """To the parent; then end at once, because some peers' threads do not."""
    os.write(1, json.dumps(result).encode() + b"\n")
    os._exit(0)


def _written() -> dict[str, int]:
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    found = dict(line.split(": ") for line in lines)
    return {name: int(found[name]) for name in ("write_bytes", "wchar")}
