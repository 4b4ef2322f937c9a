"""Rows into the two tables of the journal: one transaction, few and large statements, each parsed once.

Called by `writer` on its thread.
"""

import functools
import itertools
from collections.abc import Sequence

import duckdb

from journal.reader import Row

__all__ = ("Inserter",)

MAX_ROWS_PER_STATEMENT = 256  # bounds DuckDB's memory for one INSERT
MIN_ROWS_FOR_LISTS = 8  # from here on one list per column costs less CPU than one placeholder per value (measured)

_COLUMN_TYPES = (
    "BIGINT INTEGER TIMESTAMPTZ VARCHAR VARCHAR VARCHAR VARCHAR VARCHAR VARCHAR BLOB VARCHAR BLOB".split()  # noqa: SIM905
)


class Inserter:
    """The statements of one session."""

    def __init__(self) -> None:
        self._statements: dict[str, duckdb.Statement] = {}

    def insert(self, connection: duckdb.DuckDBPyConnection, rows: Sequence[Row], blobs: Sequence[Row]) -> None:
        """All rows and payloads or none.  Raises duckdb.Error; the transaction is then for the caller to end."""
        connection.execute("BEGIN")
        self.fill(connection, rows, blobs)
        connection.execute("COMMIT")

    def fill(self, connection: duckdb.DuckDBPyConnection, rows: Sequence[Row], blobs: Sequence[Row]) -> None:
        """The same in the transaction that the caller has begun."""
        for table, content in (("event", rows), ("blob", blobs)):
            for chunk in _chunks(content):
                self._insert_chunk(connection, table, chunk)

    def _insert_chunk(self, connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> None:
        """One INSERT: a placeholder per value for a few rows, a list per column for many."""
        few = len(rows) < MIN_ROWS_FOR_LISTS
        sql = _insert_sql(table, len(rows) if few else 0)
        statement = self._statements.get(sql)
        if statement is None:  # parsed once: a tenth of the CPU of a commit; at most 2 * MIN_ROWS_FOR_LISTS texts
            (statement,) = connection.extract_statements(sql)
            self._statements[sql] = statement
        values = list(itertools.chain.from_iterable(rows)) if few else [list(c) for c in zip(*rows, strict=True)]
        connection.execute(statement, values)


def _chunks(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[at : at + MAX_ROWS_PER_STATEMENT] for at in range(0, len(rows), MAX_ROWS_PER_STATEMENT)]


@functools.lru_cache(maxsize=2 * MIN_ROWS_FOR_LISTS)
def _insert_sql(table: str, few_rows: int) -> str:
    """Text for so many rows with a placeholder per value, or for 0 with a list per column."""
    types = _COLUMN_TYPES if table == "event" else ("VARCHAR", "BLOB")
    if few_rows:
        values = ",".join(["(" + ",".join("?" * len(types)) + ")"] * few_rows)
        return f"INSERT INTO {table} VALUES {values}"  # noqa: S608 - the table is a constant of this module
    return f"INSERT INTO {table} SELECT " + ",".join(f"unnest(?::{column_type}[])" for column_type in types)
