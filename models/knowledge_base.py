"""Curated engineering knowledge: readable TOML in, a checked and frozen graph seed out.  Strengths are 0…1.

`models/knowledge/` holds one file of terms (indicators, mechanisms, effects, actions) and one file of failure modes per
kind of equipment.  The words and strengths are the project's own; `source` names a public text that describes the
relation, or says "engineering judgement".  Called once at boot, by `blackstart graph` and by the fault graph's seeding.
"""

import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from drivers.base import Frozen, Name
from drivers.errors import Misconfigured
from journal.fault_graph import SeedEdge, SeedNode

__all__ = ("EdgeType", "Knowledge", "KnowledgeEdge", "KnowledgeNode", "NodeType", "load")

FOLDER = Path(__file__).with_name("knowledge")
MAX_FILE_BYTES = 1 << 20  # a seed is written by people; anything bigger is not one

SnakeCase = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=64)]
IndicatorName = Annotated[
    str, StringConstraints(pattern=r"^([A-Z]{4}\.[A-Z][A-Za-z0-9]*|dga\.(PD|D[12]|DT|T[123]|S))$")
]
Words = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Strength = Annotated[float, Field(ge=0, le=1)]


class NodeType(StrEnum):
    """What a node is."""

    FAILURE_MODE = "FailureMode"
    INDICATOR = "Indicator"
    MECHANISM = "FailureMechanism"
    EFFECT = "Effect"
    ACTION = "Action"


class EdgeType(StrEnum):
    """Relations that start at a failure mode."""

    EVIDENCED_BY = "EVIDENCED_BY"
    HAS_MECHANISM = "HAS_MECHANISM"
    HAS_EFFECT = "HAS_EFFECT"
    MITIGATED_BY = "MITIGATED_BY"


_ENDS_IN = {
    EdgeType.EVIDENCED_BY: NodeType.INDICATOR,
    EdgeType.HAS_MECHANISM: NodeType.MECHANISM,
    EdgeType.HAS_EFFECT: NodeType.EFFECT,
    EdgeType.MITIGATED_BY: NodeType.ACTION,
}


class KnowledgeNode(Frozen):
    """A term; `attributes` are those of its kind, for example CIM's classification of a failure mode."""

    name: str
    ntype: NodeType
    words: Words
    attributes: dict[str, str] = Field(default_factory=dict)


class KnowledgeEdge(Frozen):
    """A relation from a failure mode; `strength` is 1 where the relation knows no degree."""

    src: SnakeCase
    etype: EdgeType
    dst: str
    strength: Strength
    source: Words


class Knowledge(Frozen):
    """All that the files say, in the order in which they say it."""

    nodes: tuple[KnowledgeNode, ...]
    edges: tuple[KnowledgeEdge, ...]

    def seed(self) -> tuple[tuple[SeedNode, ...], tuple[SeedEdge, ...]]:
        """The same as the fault graph takes it."""
        nodes = tuple(SeedNode(name=node.name, ntype=node.ntype.value) for node in self.nodes)
        edges = tuple(
            SeedEdge(etype=edge.etype.value, src=edge.src, dst=edge.dst, strength=edge.strength, source=edge.source)
            for edge in self.edges
        )
        return nodes, edges

    def failure_modes(self) -> tuple[KnowledgeNode, ...]:
        """What may be named as the final cause in a verdict."""
        return tuple(node for node in self.nodes if node.ntype is NodeType.FAILURE_MODE)


class _Indicator(Frozen):
    name: IndicatorName
    words: Words
    vocabulary: Literal["IEC 61850-7-4", "IEC 60599", "own extension"]


class _Mechanism(Frozen):
    name: SnakeCase
    words: Words
    iso14224: Literal["mechanical", "material", "instrument", "electrical", "external", "miscellaneous"]


class _Effect(Frozen):
    name: SnakeCase
    words: Words
    level: Literal["local", "next", "end"]  # IEC 60812: where the effect is felt
    severity: Annotated[int, Field(ge=1, le=5)]


class _Action(Frozen):
    name: SnakeCase
    words: Words


class _Evidence(Frozen):
    indicator: IndicatorName
    strength: Strength
    source: Words


class _Mode(Frozen):
    name: SnakeCase
    words: Words
    equipment: Name  # class name of the CIM
    cim_failure_mode: Literal[
        "failToCarryLoad", "failToClose", "failToInterrupt", "failToOpen", "failToProvideInsulationLevel"
    ]
    cim_reason: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]+$")] | None = None  # FailureReasonKind
    classification: Literal["defect", "minor", "major", "majorNeedsReplacement"]
    source: Words
    mechanisms: tuple[SnakeCase, ...]
    effects: tuple[SnakeCase, ...]
    actions: tuple[SnakeCase, ...]
    evidence: Annotated[tuple[_Evidence, ...], Field(min_length=1)]


class _File(Frozen):
    indicator: tuple[_Indicator, ...] = ()
    mechanism: tuple[_Mechanism, ...] = ()
    effect: tuple[_Effect, ...] = ()
    action: tuple[_Action, ...] = ()
    failure_mode: tuple[_Mode, ...] = ()


def load(folder: Path = FOLDER) -> Knowledge:
    """Read and check every `*.toml` of the folder, in the order of their names.

    Raises Misconfigured with every fault found, each with file, key and what would be right.
    """
    faults: list[str] = []
    nodes: list[tuple[str, KnowledgeNode]] = []
    edges: list[tuple[str, KnowledgeEdge]] = []
    for path in sorted(folder.glob("*.toml")):
        content = _read(path, faults)
        nodes += [(f"{path.name}: {key}", node) for key, node in _nodes(content)]
        edges += [(f"{path.name}: {key}", edge) for key, edge in _edges(content)]
    if not nodes and not faults:
        faults.append(f"{folder}: holds no knowledge (*.toml)")
    faults += _duplicates(nodes, edges) + _dangling(nodes, edges)
    if faults:
        raise Misconfigured("\n".join(faults))
    return Knowledge(nodes=tuple(node for _, node in nodes), edges=tuple(edge for _, edge in edges))


def _read(path: Path, faults: list[str]) -> _File:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            faults.append(f"{path.name}: larger than {MAX_FILE_BYTES} bytes")
            return _File()
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        faults.append(f"{path.name}: {err}")
    except ValidationError as err:
        faults += [
            f"{path.name}: {_key(fault['loc'])}: {fault['msg']}, got {fault['input']!r:.80}"
            for fault in err.errors(include_url=False)
        ]
    return _File()


def _key(location: tuple[int | str, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _nodes(content: _File) -> list[tuple[str, KnowledgeNode]]:
    """Every term of a file with its key."""
    tables: tuple[tuple[str, NodeType, tuple[Any, ...]], ...] = (
        ("indicator", NodeType.INDICATOR, content.indicator),
        ("mechanism", NodeType.MECHANISM, content.mechanism),
        ("effect", NodeType.EFFECT, content.effect),
        ("action", NodeType.ACTION, content.action),
        ("failure_mode", NodeType.FAILURE_MODE, content.failure_mode),
    )
    hidden = {"name", "words", "source", "mechanisms", "effects", "actions", "evidence"}
    return [
        (
            f"{table}[{index}].name",
            KnowledgeNode(
                name=item.name,
                ntype=ntype,
                words=item.words,
                attributes={
                    key: str(value) for key, value in item.model_dump(exclude=hidden, exclude_none=True).items()
                },
            ),
        )
        for table, ntype, items in tables
        for index, item in enumerate(items)
    ]


def _edges(content: _File) -> list[tuple[str, KnowledgeEdge]]:
    """Every relation of a file with its key."""
    out: list[tuple[str, KnowledgeEdge]] = []
    for index, mode in enumerate(content.failure_mode):
        plain = (
            ("mechanisms", EdgeType.HAS_MECHANISM, mode.mechanisms),
            ("effects", EdgeType.HAS_EFFECT, mode.effects),
            ("actions", EdgeType.MITIGATED_BY, mode.actions),
        )
        ends = [
            (f"evidence[{place}].indicator", EdgeType.EVIDENCED_BY, seen.indicator, seen.strength, seen.source)
            for place, seen in enumerate(mode.evidence)
        ]
        for field, etype, names in plain:
            ends += [(f"{field}[{place}]", etype, name, 1.0, mode.source) for place, name in enumerate(names)]
        for field, etype, dst, strength, source in ends:
            edge = KnowledgeEdge(src=mode.name, etype=etype, dst=dst, strength=strength, source=source)
            out.append((f"failure_mode[{index}].{field}", edge))
    return out


def _duplicates(nodes: list[tuple[str, KnowledgeNode]], edges: list[tuple[str, KnowledgeEdge]]) -> list[str]:
    faults = []
    first: dict[object, str] = {}
    named: list[tuple[str, object, str]] = [(where, node.name, node.name) for where, node in nodes]
    named += [(where, (edge.src, edge.etype, edge.dst), f"{edge.src} → {edge.dst}") for where, edge in edges]
    for where, identity, words in named:
        if identity in first:
            faults.append(f"{where}: {words} is already defined at {first[identity]}")
        first.setdefault(identity, where)
    return faults


def _dangling(nodes: list[tuple[str, KnowledgeNode]], edges: list[tuple[str, KnowledgeEdge]]) -> list[str]:
    known = {node.name: node.ntype for _, node in nodes}
    faults = []
    for where, edge in edges:
        wanted, got = _ENDS_IN[edge.etype], known.get(edge.dst)
        if got is None:
            faults.append(f"{where}: {edge.dst} is not defined; define it as {wanted.value}")
        elif got is not wanted:
            faults.append(f"{where}: {edge.dst} is {got.value}, expected {wanted.value}")
    return faults
