"""`Journal`: the one door to what happened.  Opens the store through the boot ladder and what is built on it.

`open` turns a state folder into a running store, outbox and sample log; the gateway calls it once, after polling
has begun, and raises an alarm for each rescue note.
"""

import asyncio
import contextlib
import dataclasses
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drivers.base import Clock
from drivers.errors import Fatal, Misconfigured, Transient
from journal.engine.codec import decode, encode
from journal.engine.ports import Entry
from journal.files import fsync_folder
from journal.mark import MarkValue
from journal.opening import suspect
from journal.outbox import Outbox
from journal.reader import Verification
from journal.rescue import RescueNote, boot
from journal.retention import RetentionPolicy
from journal.samples import SampleLog
from journal.store import DuckStore
from journal.upkeep import Retained, Upkeep
from journal.writer import Limits, Writer

__all__ = ("KEY_NAME", "RESCUED_BY_HAND", "Journal")

KEY_NAME = "journal.key"
RESCUED_BY_HAND = "rescued by hand"  # the name of the `journal.opened` row of `offline.rescue_files`
MIN_KEY_BYTES = 32
NEWEST_ROWS = 64  # the boot ladder has twelve rungs, of which one may act eight times
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Journal:
    """An open journal.  Made by `Journal.open`."""

    def __init__(self, store: DuckStore, state_dir: Path, clock: Clock, notes: tuple[RescueNote, ...]) -> None:
        self.store = store
        self.outbox = Outbox(store)
        self.samples = SampleLog(state_dir / "samples", clock)
        self.upkeep = Upkeep(store, state_dir, clock)
        self.rescue_notes = notes

    @classmethod
    async def open(
        cls,
        state_dir: Path,
        clock: Clock,
        *,
        boot_note: str = "",
        key_file: Path | None = None,
        limits: Limits | None = None,
    ) -> "Journal":
        """Open or create the journal in `state_dir`; whatever lies there, it comes up.

        The row chain's key is read from `key_file`, by default from the service manager's credential
        `journal.key`, else from a file of that name in the folder, made at the first start.

        Raises:
            Misconfigured: another process holds the journal, the folder may not be written, the key is too short
                or the schema is of another version.
            Transient: the file system itself fails; watching the plant goes on, try again later.
        """
        notes: tuple[RescueNote, ...] = ()
        for last in (False, True):
            writer, found = await asyncio.to_thread(_start, state_dir, key_file, limits)
            notes += found
            store = DuckStore(writer, clock)
            journal = cls(store, state_dir, clock, notes)
            try:
                by_hand = () if boot_note == RESCUED_BY_HAND else await _by_hand(store)
                await store.append([Entry(kind="journal.opened", name=boot_note), *map(_rescue_entry, notes)])
                journal.rescue_notes = (*by_hand, *notes)
                await journal.outbox.open()
            except (Transient, Fatal):
                with contextlib.suppress(Fatal):
                    await store.close()
                if last:
                    raise
                await asyncio.to_thread(suspect, state_dir)  # it opened but cannot be used: climb again, look closely
            except BaseException:
                await store.close()
                raise
            else:
                await journal.samples.open()
                journal.upkeep.start()
                break
        return journal

    async def query(self, sql_name: str, *, limit: int = 100, **arguments: str) -> list[dict[str, Any]]:
        """Rows of a named query: runs, steps and branches (run_id=), waits, timers, in_doubt, outbox and so on.

        All names stand in `schema.QUERIES`.
        """
        return await self.store.query(sql_name, limit=limit, **arguments)

    @property
    def head(self) -> MarkValue | None:
        """The last acknowledged row and its link of the row chain: published, it anchors all before it."""
        return self.store.head

    async def verify(self, anchors: Sequence[MarkValue] = ()) -> Verification:
        """Recompute the row chain from the first row to the last and look for published heads."""
        return await self.upkeep.verify(anchors)

    async def snapshot(self) -> Path:
        """Copy the database now, atomically; it is done daily anyway.  Raises Transient where there is no room."""
        return await self.upkeep.snapshot()

    async def export(self, folder: Path) -> tuple[Path, ...]:
        """Every row and payload as Parquet files.  Raises Transient."""
        return await self.upkeep.export(folder)

    async def retain(self, policy: RetentionPolicy, *, export_to: Path | None = None) -> Retained:
        """Drop what is too much by age, rows or bytes and shrink the file.  Raises Transient: nothing has changed."""
        return await self.upkeep.retain(policy, export_to=export_to)

    async def close(self) -> None:
        """Write the last samples, checkpoint, let go of the files.  Raises Fatal where the writer had failed."""
        try:
            await self.upkeep.close()
            await self.samples.close()
        finally:
            await self.store.close()


def _start(state_dir: Path, key_file: Path | None, limits: Limits | None) -> tuple[Writer, tuple[RescueNote, ...]]:
    """All that blocks: the boot ladder with the key, the first write of the mark."""
    booted = boot(state_dir, lambda: _load_key(state_dir, key_file))
    try:
        return Writer(booted, key=booted.key, boot_id=_boot_id(), limits=limits), booted.notes
    except BaseException:
        booted.close()
        raise


async def _by_hand(store: DuckStore) -> tuple[RescueNote, ...]:
    """What was rescued by hand, or by a daemon that did not live to say so: nobody was told of it yet."""
    told: list[RescueNote] = []
    for row in reversed(await store.newest(NEWEST_ROWS)):
        if row.kind == "journal.rescued":
            plain = decode(row.payload)
            told.insert(0, RescueNote(**plain | {"set_aside": tuple(plain["set_aside"])}))
        elif row.kind != "journal.opened" or row.name != RESCUED_BY_HAND:
            break
    return tuple(told)


def _rescue_entry(note: RescueNote) -> Entry:
    return Entry(kind="journal.rescued", name=note.rung, payload=encode(dataclasses.asdict(note)))


def _boot_id() -> str:
    """Eight characters that differ between two boots of the machine."""
    try:
        return _BOOT_ID.read_text(encoding="ascii")[:8]
    except OSError:
        return ""


def _load_key(state_dir: Path, key_file: Path | None) -> bytes:
    """The key of the row chain; made where there is none."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if key_file is None and credentials is not None and (Path(credentials) / KEY_NAME).exists():
        key_file = Path(credentials) / KEY_NAME
    path = key_file or state_dir / KEY_NAME
    try:
        if key_file is None and not path.exists():
            draft = path.with_suffix(".new")
            draft.touch(mode=0o600)
            with draft.open("wb") as file:
                file.write(secrets.token_bytes(MIN_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            draft.rename(path)
            fsync_folder(state_dir)
        key = path.read_bytes()
    except PermissionError as err:
        raise Misconfigured(f"{path}: the journal's key cannot be read: {err.strerror}") from err
    except FileNotFoundError as err:
        raise Misconfigured(f"{path}: the journal's key file does not exist") from err
    except OSError as err:
        raise Transient(f"{path}: the journal's key cannot be read: {err}") from err
    if len(key) < MIN_KEY_BYTES:
        raise Misconfigured(f"{path}: the journal's key has {len(key)} bytes, it needs {MIN_KEY_BYTES}")
    return key
