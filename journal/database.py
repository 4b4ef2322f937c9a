"""The open `blackstart.duckdb`: rows in, a reader, checkpoints, and a new session where DuckDB gave up on one.

Owned by `writer`, used on its thread.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import duckdb

from drivers.errors import Fatal
from journal.files import fsync_folder
from journal.insert import Inserter
from journal.opening import DATABASE_NAME, State, reopen
from journal.pages import MAX_BLOCKS, keep_pages
from journal.reader import Reader, Row
from journal.units import Counters

__all__ = ("Database",)

MAX_REVIVALS = 3  # in a row; then the process starts afresh and the boot ladder looks closely


class Database:
    """One session that writes, and a second one that reads."""

    def __init__(
        self, folder: Path, connection: duckdb.DuckDBPyConnection, file_fd: int, stored_seq: int, counters: Counters
    ) -> None:
        """Take over from the boot ladder; `file_fd` is the database, open for reading, and stays the caller's."""
        self.stored_seq = stored_seq  # the last number in it
        self.file_fd = file_fd
        self._folder = folder
        self._counters = counters
        self._revivals = 0  # since the last transaction or checkpoint that succeeded
        self._use(connection)

    def _use(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.reader = Reader(connection.cursor())
        # There is nothing to optimise in an INSERT: a fifth of its CPU. Reads have a session of their own.
        connection.execute("PRAGMA disable_optimizer")
        self._inserter = Inserter()
        self._previewing = False
        self._folder_stale = True  # the next transaction may create DuckDB's log

    def store(self, rows: Sequence[Row], blobs: dict[str, bytes]) -> None:
        """One transaction, durable.  Raises duckdb.Error when it failed and nothing of it is kept, Fatal."""
        self._end_preview()
        self._insert_surely(rows, list(blobs.items()))
        self.stored_seq = rows[-1][0]
        if self._folder_stale:
            try:
                fsync_folder(self._folder)
            except OSError as err:
                raise Fatal(f"{self._folder}: the disk failed after a commit: {err}") from err
            self._folder_stale = False

    def preview(self, rows: Sequence[Row], blobs: dict[str, bytes]) -> Reader:
        """A reader to whom these rows look stored, while the disk takes none.  Raises duckdb.Error."""
        self._end_preview()
        self.connection.execute("BEGIN")
        self._previewing = True  # never committed
        self._inserter.fill(self.connection, rows, list(blobs.items()))
        return Reader(self.connection)

    def _end_preview(self) -> None:
        if self._previewing:
            self._previewing = False
            self.roll_back()

    def checkpoint(self) -> None:
        """Fold DuckDB's log into the file.  Raises duckdb.Error."""
        self._end_preview()
        self.connection.execute("CHECKPOINT")
        self._folder_stale = True
        self._revivals = 0

    def keep_pages(self) -> None:
        """A second copy of what the next checkpoint will write in place.  Raises duckdb.Error, OSError."""
        rows = self.connection.execute("SELECT block_id FROM pragma_metadata_info()").fetchall()
        keep_pages(self._folder, self.file_fd, [block for (block,) in rows[:MAX_BLOCKS]])

    def revive(self, reason: Exception) -> int:
        """After DuckDB gave up on the session: close it, open it anew, compare; the newest number in the file.

        Raises Fatal after too many tries, or where stored rows are missing: the boot ladder reports those.
        """
        self._revivals += 1
        if self._revivals > MAX_REVIVALS:
            raise Fatal(f"the journal's database gave up {self._revivals} times: {reason}") from reason
        self._counters.revivals += 1
        self.close()
        try:
            connection, state = reopen(self._folder)
        except (OSError, duckdb.Error) as err:
            raise Fatal(f"the journal's database gave up ({reason}) and cannot be opened: {err}") from err
        self._use(connection)
        found_seq = 0 if state.tail is None else state.tail.seq
        if found_seq < self.stored_seq:
            raise Fatal(f"the journal's database gave up ({reason}) and lost rows behind {found_seq}: boot reports it")
        return found_seq

    def take_over(self, path: Path) -> State:
        """Put that file in its place and open it.  Raises duckdb.Error, OSError: the session is gone."""
        self.close()  # the log is gone with the checkpoint before: none may meet another database
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.rename(self._folder / DATABASE_NAME)
        fsync_folder(self._folder)
        connection, state = reopen(self._folder)
        fd = os.open(self._folder / DATABASE_NAME, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(fd, self.file_fd, inheritable=False)
        os.close(fd)
        self._use(connection)
        self.stored_seq = 0 if state.tail is None else state.tail.seq
        return state

    def roll_back(self) -> bool:
        """End a failed transaction; False where the session is beyond that."""
        try:
            self.connection.execute("ROLLBACK")
        except duckdb.TransactionException:  # the failed statement has ended the transaction itself
            return True
        except duckdb.Error:
            return False
        return True

    def close(self) -> None:
        """Let go of both sessions.  One that gave up cannot be closed tidily; boot will look."""
        self.reader.close()
        with contextlib.suppress(duckdb.Error):
            self.connection.close()

    def _insert_surely(self, rows: Sequence[Row], blobs: Sequence[Row]) -> None:
        """One transaction; where DuckDB gives up on the session, look what came of it and write what is missing.

        Raises duckdb.Error when the transaction failed, Fatal after MAX_REVIVALS.
        """
        while True:
            try:
                self._inserter.insert(self.connection, rows, blobs)
            except duckdb.FatalException as err:
                if self.revive(err) >= rows[-1][0]:  # it had been committed
                    return
            except duckdb.Error as err:
                if (self._newest_seq() if self.roll_back() else self.revive(err)) < rows[-1][0]:
                    raise
                return  # it had been committed, and the answer was lost
            else:
                self._revivals = 0
                return

    def _newest_seq(self) -> int:
        rows = self.connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchall()
        return int(rows[0][0])
