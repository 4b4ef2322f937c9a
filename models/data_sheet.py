"""What a method takes, gives and is good for: one frozen sheet per method, printed by code, documents and commands.

A method's module keeps its sheets in `SHEETS`; `models.methods` lists them all.
"""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ("DataSheet", "Mark")


class Mark(StrEnum):
    """How far the numbers and rules of a method have been verified."""

    VERIFIED = "verified"  # two independent sources, the owner's own document, or a published example
    ONE_SOURCE = "one source"  # as one public source has it; not compared with the standard's text
    OWN = "own rule"  # Blackstart's own choice; its reason stands in the code


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSheet:
    """One method."""

    name: str  # as in votes and findings
    title: str
    function: str  # dotted name of the function
    inputs: tuple[str, ...]  # each with its unit
    output: str
    validity: tuple[str, ...]  # where it holds, and when it abstains
    source: str
    mark: Mark
