"""`DuckStore`: the asyncio half of the journal's store, with one writer thread behind it.

Callers await `append`; whatever waits when the thread is free is committed as one transaction (group commit, no
added delay) and acknowledged after COMMIT.  Reads run on the same thread, so they see every commit before them.
Implements `journal.engine.ports.Store`; called by the engine, the outbox, the agents and the command line.
"""

import asyncio
import functools
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from drivers.base import Clock
from drivers.errors import BadInput, BlackstartError, Fatal, Transient
from journal.engine.ports import Entry, OpenRun, Record
from journal.mark import MarkValue
from journal.reader import Verification
from journal.writer import Counters, Unit, Writer, is_alarm

__all__ = ("DuckStore",)

MAX_LATEST = 10_000  # keys of one kind that a fold at boot may ask for
MAX_QUEUED_ENTRIES = 4_096  # waiting for the writer; then append() makes its caller wait
MAX_QUEUED_BYTES = 16 << 20  # also the most that one append() may carry
MAX_GROUP_ENTRIES = 512  # one transaction: about 50 ms of CPU, so that the first caller does not wait for the last
MAX_VERIFY_ROWS = 2_000  # rows checked between two commits while `verify` runs
CLOSE_TIMEOUT_S = 30.0

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Append:
    unit: Unit
    urgent: bool
    future: "asyncio.Future[list[int]]"
    error: BlackstartError | None = field(default_factory=lambda: Fatal("the journal's writer stopped"))


@dataclass(slots=True, eq=False)
class _Call(Generic[T]):
    function: Callable[[], T]
    future: "asyncio.Future[T]"


_Work: TypeAlias = "_Append | _Call[Any] | None"  # None: close


class DuckStore:
    """An append-only log on DuckDB.  All methods belong to the event loop that made it."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        """Start the writer thread.  Call it on the event loop."""
        self._clock = clock
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[_Work] = queue.SimpleQueue()  # bounded by _admit, and one read per waiting caller
        self._lobby: deque[_Append] = deque()  # in the order of the calls, while the queue is full
        self._closing = False
        self._queued_entries = 0
        self._queued_bytes = 0
        self._urgent_queued = 0  # counted up by the event loop alone,
        self._urgent_taken = 0  # and this one by the writer thread alone
        self._subscribers: list[tuple[str, Callable[[Record], None]]] = []
        self._failure: BlackstartError | None = None
        self._last_seq = writer.last_seq
        self._moved_ns = clock.monotonic_ns()  # when work was last settled, or first came to an idle writer
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    @property
    def epoch(self) -> int:
        """Raised by one at each rescue; part of every id."""
        return self._writer.epoch

    @property
    def boot_id(self) -> str:
        """Names the boot of the machine; empty where it is not known."""
        return self._writer.boot_id

    @property
    def counters(self) -> Counters:
        """What the writer has done; read-only."""
        return self._writer.counters

    @property
    def queued_entries(self) -> int:
        """Entries that wait for the writer or are being committed."""
        return self._queued_entries

    @property
    def last_seq(self) -> int:
        """The highest sequence number that is committed."""
        return self._last_seq

    @property
    def stuck_s(self) -> float:
        """For how long entries have waited without any group being settled; 0 while nothing waits."""
        return (self._clock.monotonic_ns() - self._moved_ns) / 1e9 if self._queued_entries else 0.0

    async def append(self, entries: Sequence[Entry]) -> list[int]:
        """Commit the entries as one unit and return their sequence numbers once they are durable.

        Numbers follow the order of the calls; while the queue is full the callers wait in that order.  A caller
        cancelled meanwhile does not know whether its entries were kept.

        Raises:
            BadInput: an entry cannot be stored: text that is no Unicode, or more bytes than the queue may hold.
            Transient: the commit failed, for example on a full disk; nothing of this append is kept.
            Fatal: the writer has stopped; the process must be started again.
        """
        if not entries:
            return []
        size_bytes = sum(map(_size_bytes, entries))
        if size_bytes > MAX_QUEUED_BYTES or len(entries) > MAX_QUEUED_ENTRIES:
            raise BadInput(f"{len(entries)} entries of {size_bytes} bytes in one append: more than the queue may hold")
        self._check_open()
        if not self._queued_entries:
            self._moved_ns = self._clock.monotonic_ns()
        work = _Append(
            unit=Unit(entries=tuple(entries), wall=self._clock.now(), size_bytes=size_bytes),
            urgent=any(map(is_alarm, entries)),
            future=self._loop.create_future(),
        )
        self._lobby.append(work)
        self._admit()
        return await work.future

    async def history(self, run_id: str) -> list[Record]:
        """Every entry of one run, in sequence order."""
        return await self._call(lambda: self._writer.history(run_id))

    async def histories(self, run_ids: Sequence[str]) -> dict[str, list[Record]]:
        """Every entry of each of these runs, in sequence order, in one read; unknown runs are left out."""
        return await self._call(lambda: self._writer.histories(run_ids))

    async def open_runs(self) -> list[OpenRun]:
        """Runs that were started and have not ended, in the order of their start."""
        return await self._call(self._writer.open_runs)

    async def find_run(self, key: str) -> str | None:
        """The run that was started with this idempotency key, if any."""
        return await self._call(lambda: self._writer.find_run(key))

    async def latest(self, kind: str, *, limit: int = MAX_LATEST, depth: int = 1) -> list[Record]:
        """The newest `depth` entries of each key of one kind, in sequence order; of more than `limit` the newest."""
        return await self._call(lambda: self._writer.reader.latest(kind, limit, depth))

    async def newest(self, count: int) -> list[Record]:
        """The newest `count` entries, in sequence order."""
        return await self._call(lambda: self._writer.reader.newest(count))

    async def pending_outbox(self, from_seq: int, limit: int) -> list[Record]:
        """Queued messages from this sequence number on that were neither sent nor refused."""
        return await self._call(lambda: self._writer.reader.pending_outbox(from_seq, limit))

    async def query(self, name: str, *, limit: int = 100, **arguments: str) -> list[dict[str, Any]]:
        """Rows of a named read-only query of `schema.QUERIES`, newest first.  Raises BadInput for a wrong name."""
        return await self._call(lambda: self._writer.reader.query(name, limit, arguments))

    async def checkpoint(self) -> bool:
        """Fold the log into the database file now; False where the disk has no room for it."""
        return await self._call(self._writer.checkpoint)

    @property
    def head(self) -> MarkValue | None:
        """The last acknowledged row: epoch, number and link of the row chain, to be published as an anchor."""
        return self._writer.head

    async def verify(self, anchors: Sequence[MarkValue] = ()) -> Verification:
        """Recompute the whole row chain, in pieces between commits, up to the first break; then look for anchors.

        It finds any change by someone without the key, up to the newest of the published heads in `anchors`.
        """
        after: MarkValue | None = None
        rows = 0
        while True:
            found, after = await self._call(functools.partial(self._writer.verify, after, MAX_VERIFY_ROWS))
            rows += found.rows
            if found.broken_seq is not None:
                return Verification(rows=rows, broken_seq=found.broken_seq, reason=found.reason)
            if after is None:
                missing = await self._call(lambda: self._writer.reader.missing_anchor(anchors))
                reason = "" if missing is None else "it is not the row that was published"
                return Verification(rows=rows, broken_seq=missing, reason=reason)

    async def on_writer(self, function: Callable[[Writer], T]) -> T:
        """Have the writer thread call a function, between two groups."""
        return await self._call(lambda: function(self._writer))

    def subscribe(self, kind_prefix: str, callback: Callable[[Record], None]) -> None:
        """Have each later entry of that kind handed over, in order, before its append() returns."""
        self._subscribers.append((kind_prefix, callback))

    async def close(self) -> None:
        """Commit what waits, checkpoint, let go of the file.  Raises Fatal where the writer had failed before."""
        if self._thread.is_alive():
            self._closing = True
            self._admit()
            await asyncio.to_thread(self._thread.join, CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            raise Fatal(f"the journal's writer did not stop within {CLOSE_TIMEOUT_S:g} s")
        if isinstance(self._failure, Fatal):
            raise self._failure

    # -- event loop side

    async def _call(self, function: Callable[[], T]) -> T:
        self._check_open()
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put(_Call(function, future))
        return await future

    def _check_open(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _admit(self) -> None:
        """Let in whom the bounds allow, one at least; behind the last one the order to close."""
        while self._lobby:
            unit = self._lobby[0].unit
            entries = self._queued_entries + len(unit.entries)
            size_bytes = self._queued_bytes + unit.size_bytes
            if self._queued_entries and (entries > MAX_QUEUED_ENTRIES or size_bytes > MAX_QUEUED_BYTES):
                return
            self._queued_entries, self._queued_bytes = entries, size_bytes
            work = self._lobby.popleft()
            self._urgent_queued += work.urgent
            self._work.put(work)
        if self._closing:
            self._work.put(None)

    def _settle(self, appends: Sequence[_Append]) -> None:
        """Hand out what became of a group: first to subscribers, then to the callers."""
        self._moved_ns = self._clock.monotonic_ns()
        for append in appends:
            self._queued_entries -= len(append.unit.entries)
            self._queued_bytes -= append.unit.size_bytes
            if append.error is None:
                self._last_seq = max(self._last_seq, append.unit.first_seq + len(append.unit.entries) - 1)
                self._publish(append.unit)
            if append.future.done():  # cancelled
                continue
            if append.error is None:
                first = append.unit.first_seq
                append.future.set_result(list(range(first, first + len(append.unit.entries))))
            else:
                append.future.set_exception(append.error)
        self._admit()

    def _publish(self, unit: Unit) -> None:
        for seq, entry in enumerate(unit.entries, unit.first_seq):
            for prefix, callback in self._subscribers:
                if entry.kind.startswith(prefix):
                    # A callback of its own in the loop: one that fails is reported there and stops no other.
                    self._loop.call_soon(callback, _as_record(entry, seq, self.epoch, unit))

    # -- writer thread side

    def _run(self) -> None:
        failure: BlackstartError = Fatal("the journal's writer thread stopped unexpectedly")
        try:
            while (group := self._take()) is not None:
                self._serve(group)
            self._writer.finish()
            failure = Transient("the journal is closed")
        except Fatal as err:
            failure = err
            self._writer.suspect()
        finally:
            self._writer.close()
            self._failure = failure  # from here on _put refuses; what came before is answered below
            self._on_loop(self._refuse_waiting)

    def _take(self) -> "list[_Append | _Call[Any]] | None":
        """All that waits, up to the bound of one group; empty when idle, None to close."""
        try:
            work = self._work.get(timeout=self._writer.limits.idle_s)
        except queue.Empty:
            return []
        group: list[_Append | _Call[Any]] = []
        entries = 0
        while work is not None:
            group.append(work)
            if isinstance(work, _Append):
                entries += len(work.unit.entries)
                self._urgent_taken += work.urgent
            if entries >= MAX_GROUP_ENTRIES:
                return group
            try:
                work = self._work.get_nowait()
            except queue.Empty:
                return group
        if not group:
            return None
        self._work.put(None)  # close once this group is served
        return group

    def _serve(self, group: "list[_Append | _Call[Any]]") -> None:
        appends = [work for work in group if isinstance(work, _Append)]
        if appends:
            try:
                self._commit(appends)
            except Fatal as err:
                for append in appends:
                    append.error = err
                raise
            finally:
                self._on_loop(self._settle, appends)
        for work in group:
            if isinstance(work, _Call):
                self._answer(work)
        alarm_waits = self._urgent_queued != self._urgent_taken
        if not alarm_waits and self._writer.checkpoint_due(idle=not group):
            self._writer.checkpoint()

    def _commit(self, appends: Sequence[_Append]) -> None:
        try:
            self._writer.commit([append.unit for append in appends])
        except Transient as err:
            for append in appends:
                append.error = err
            urgent = [append for append in appends if append.urgent]
            if urgent and self._writer.release_ballast():
                self._commit(urgent)  # once: the ballast is gone now
        else:
            for append in appends:
                append.error = None

    def _answer(self, call: "_Call[Any]") -> None:
        try:
            result = self._writer.surely(call.function)
        except Fatal as err:
            self._on_loop(_set_exception, call.future, err)
            raise
        except Transient as err:  # perhaps a bad block: no reason to stop, but the next boot shall look closely
            self._writer.suspect()
            self._on_loop(_set_exception, call.future, err)
        except BlackstartError as err:
            self._on_loop(_set_exception, call.future, err)
        else:
            self._on_loop(_set_result, call.future, result)

    def _on_loop(self, function: Callable[..., None], *arguments: Any) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _refuse_waiting(self) -> None:
        assert self._failure is not None
        appends = list(self._lobby)
        self._lobby.clear()
        for append in appends:
            append.error = self._failure
            self._queued_entries += len(append.unit.entries)
            self._queued_bytes += append.unit.size_bytes
        while not self._work.empty():
            work = self._work.get_nowait()
            if isinstance(work, _Append):
                work.error = self._failure
                appends.append(work)
            elif work is not None:
                _set_exception(work.future, self._failure)
        self._settle(appends)


def _size_bytes(entry: Entry) -> int:
    try:
        text = f"{entry.kind}{entry.run_id}{entry.key}{entry.name}{entry.arg_hash}".encode()
    except UnicodeEncodeError as err:
        raise BadInput(f"an entry of kind {entry.kind!r} holds text that is no Unicode: {err}") from err
    return len(text) + len(entry.payload)


def _as_record(entry: Entry, seq: int, epoch: int, unit: Unit) -> Record:
    return Record(
        seq=seq,
        epoch=epoch,
        wall=unit.wall,
        kind=entry.kind,
        run_id=entry.run_id,
        key=entry.key,
        name=entry.name,
        arg_hash=entry.arg_hash,
        payload=entry.payload,
    )


def _set_result(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: "asyncio.Future[Any]", error: BlackstartError) -> None:
    if not future.done():
        future.set_exception(error)
