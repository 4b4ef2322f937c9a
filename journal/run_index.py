"""What memory holds of runs: the open ones, where their rows lie, and which run was started with which key.

For ended runs a filter of fixed size says of a key "never seen" for sure, or "perhaps": only then the rows are read.
It is filled once from the keys in the database, at the first question.  Used by `writer` on its thread.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from journal.engine.ports import Entry, OpenRun, Record
from journal.schema import ENDED_KINDS, REOPENING_KINDS

__all__ = ("RunIndex",)

FILTER_BYTES = 1 << 20  # 0.001 % needless reads at 100,000 runs, 2 % at a million
PROBES = 4
FIRST_SEQS_MAX = 256  # ended runs that were read not long ago

_BITS = FILTER_BYTES * 8


class RunIndex:
    """Open runs as the boot found them, and what is committed since."""

    def __init__(self, open_runs: Iterable[OpenRun]) -> None:
        self._open = {run.run_id: run for run in open_runs}
        self._by_key = {run.key: run.run_id for run in self._open.values()}
        self._first_seqs: OrderedDict[str, int] = OrderedDict()
        self._filter: bytearray | None = None  # until the first question

    def note(self, entry: Entry, seq: int) -> None:
        """A row of a run was committed."""
        run = self._open.get(entry.run_id)
        if entry.kind in ENDED_KINDS:
            if run is not None:
                del self._open[entry.run_id]
                self._by_key.pop(run.key, None)
        elif run is not None:
            self._open[entry.run_id] = OpenRun(  # not dataclasses.replace: this is done for every row of a run
                run_id=run.run_id, workflow=run.workflow, first_seq=run.first_seq, last_seq=seq, key=run.key
            )
        elif entry.kind == "run.started" or entry.kind in REOPENING_KINDS:
            first_seq = seq if entry.kind == "run.started" else self._first_seqs.get(entry.run_id, 0)
            self._open[entry.run_id] = OpenRun(
                run_id=entry.run_id, workflow=entry.name, first_seq=first_seq, last_seq=seq, key=entry.key
            )
            self._by_key[entry.key] = entry.run_id
            if self._filter is not None:
                _add(self._filter, entry.key)

    def was_read(self, run_id: str, records: Sequence[Record]) -> None:
        """Remember where an ended run begins: who retries it has read it just before."""
        if run_id not in self._open and records:
            self._first_seqs[run_id] = records[0].seq
            while len(self._first_seqs) > FIRST_SEQS_MAX:
                self._first_seqs.popitem(last=False)

    def span(self, run_id: str) -> tuple[int, int | None]:
        """First and last sequence number of a run as far as they are known; 0 and None where not."""
        run = self._open.get(run_id)
        return (self._first_seqs.get(run_id, 0), None) if run is None else (run.first_seq, run.last_seq)

    def open_runs(self) -> list[OpenRun]:
        """Runs that have not ended, in the order of their start."""
        return sorted(self._open.values(), key=lambda run: run.first_seq)

    def open_run(self, key: str) -> str | None:
        """The open run with this key."""
        return self._by_key.get(key)

    def perhaps(self, key: str, seen: Callable[[], Iterable[str]]) -> bool:
        """False where no run was ever started with the key.

        `seen` gives the key of every run in the database; it is called once.  Raises as it does.
        """
        if self._filter is None:
            fresh = bytearray(FILTER_BYTES)
            for one in seen():
                _add(fresh, one)
            self._filter = fresh
        place, step = _hashed(key)
        places = ((place + number * step) % _BITS for number in range(PROBES))
        return all(self._filter[place >> 3] & 1 << (place & 7) for place in places)


def _add(bits: bytearray, key: str) -> None:
    place, step = _hashed(key)
    for _ in range(PROBES):
        bits[place >> 3] |= 1 << (place & 7)
        place = (place + step) % _BITS


def _hashed(key: str) -> tuple[int, int]:
    """The first bit of a key and how far it is to the next; Python's hash is good enough within one process."""
    both = hash(key)
    return both % _BITS, (both >> 32) | 1
