"""What the control socket does for `blackstart journal …`: verify, snapshot and export the journal that is open.

The daemon reads its own files, because no second process can open them; it goes on committing meanwhile.  One of
these works at a time, the others wait.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from drivers.errors import BadInput
from gateway.control import Handlers
from journal import Journal, MarkValue

__all__ = ("JournalViews", "head_of", "heads_of")

HEADS_MAX = 1_000  # a published head a day for three years
SEQ_MAX = 2**63 - 1


class JournalViews:
    """Long questions to the open journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def handlers(self) -> Handlers:
        """Question → answer."""
        return {
            "journal_verify": self.verify,
            "journal_snapshot": self.snapshot,
            "journal_export": self.export,
        }

    async def verify(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Recompute the row chain, and tell its head for next time."""
        heads = question.get("heads", [])
        if not isinstance(heads, list):
            raise BadInput(f"heads is {heads!r}; it is a list of texts")
        head = self._journal.head
        return asdict(await self._journal.verify(heads_of(heads))) | {"head": head_of(head)}

    async def snapshot(self, _: Mapping[str, Any]) -> dict[str, Any]:
        """Copy the database now."""
        return {"file": str(await self._journal.snapshot())}

    async def export(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Every row and payload as Parquet."""
        folder = question.get("folder")
        if not isinstance(folder, str) or not Path(folder).is_absolute():
            raise BadInput(f"folder is {folder!r}; it is an absolute path")
        return {"files": [str(path) for path in await self._journal.export(Path(folder))]}


def head_of(head: MarkValue | None) -> str:
    """A head of the row chain as people write it down: epoch, sequence number, link."""
    return "" if head is None else f"{head.epoch}:{head.seq}:{head.chain.hex()}"


def heads_of(texts: Sequence[str]) -> list[MarkValue]:
    """Heads that were written down before.  Raises BadInput."""
    if len(texts) > HEADS_MAX:
        raise BadInput(f"{len(texts)} heads; at most {HEADS_MAX}")
    return [_head(text) for text in texts]


def _head(text: str) -> MarkValue:
    try:
        epoch, seq, link = str(text).split(":")
        head = MarkValue(int(epoch), int(seq), bytes.fromhex(link))
    except ValueError as err:
        raise BadInput(f"{text!r} is no head: it is epoch:sequence:link, as `journal verify` prints it") from err
    if not (0 <= head.epoch <= SEQ_MAX and 0 <= head.seq <= SEQ_MAX and len(head.chain) == 32):  # noqa: PLR2004 - SHA-256
        raise BadInput(f"{text!r} is no head: a number is out of range, or the link is not 64 hexadecimal digits")
    return head
