"""The asset graph: what would reach what, through fire, back-feed, a shared cooling or DC supply, protection.

Exposure: a severe finding in one asset in, what reaches its neighbours and the path that carries it out; the severity
weight times what each edge lets through, along the best path.  It ranks attention and is no probability.
Reach: the probability that trouble in one asset hits another, over all ways together; `models.failure_risk` makes risk
of it.  All values are 0…1 without unit.  Called by the wave agent and by the risk ranking; pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Literal

from pydantic import Field, model_validator

from drivers.base import Frozen, Name

__all__ = ("AssetEdge", "EdgeKind", "Exposure", "Reach", "exposure", "reaches")

MAX_DEPTH = 3  # beyond three edges the configured shares are guesses of guesses
EXACT_WAYS_MAX = 8  # ways to one asset that are reckoned exactly: 255 terms

EdgeKind = Literal["same_bay", "fire_exposure", "back_feed", "shared_cooling", "shared_dc_supply", "protection"]


class AssetEdge(Frozen):
    """How trouble in `from_asset` can reach `to_asset`; one direction only."""

    from_asset: Name
    to_asset: Name
    kind: EdgeKind
    attenuation: float = Field(
        ge=0, le=1, description="share held back by distance and barriers: 0 passes all, 1 nothing"
    )

    @model_validator(mode="after")
    def _leads_elsewhere(self) -> "AssetEdge":
        if self.from_asset == self.to_asset:
            raise ValueError(f"{self.from_asset} cannot be its own neighbour")
        return self


class Exposure(Frozen):
    """What reaches one asset, and by which way: `path` from the origin to the asset, `kinds` the edges between."""

    value: float = Field(ge=0, le=1)
    path: tuple[Name, ...]
    kinds: tuple[EdgeKind, ...]


class Reach(Frozen):
    """How likely trouble in one asset hits another, and the likeliest single way."""

    probability: float = Field(ge=0, le=1)
    path: tuple[Name, ...]
    kinds: tuple[EdgeKind, ...]


def reaches(edges: Iterable[AssetEdge], origins: Iterable[str]) -> dict[str, dict[str, Reach]]:
    """For each origin every asset that its trouble can hit over at most three edges, and how probably over all ways.

    An edge lets trouble pass with the probability 1 - attenuation, independently of the others, and an asset that was
    hit passes it on.  Up to `EXACT_WAYS_MAX` ways to one asset are reckoned exactly (inclusion and exclusion over the
    sets of edges); of more, the ways are taken for independent, which can only give more.  So a higher attenuation, or
    one edge less, never raises a probability.  Cycles are harmless: a way does not return to where it was.
    """
    known = sorted(edges, key=lambda edge: (edge.from_asset, edge.to_asset, edge.kind, edge.attenuation))
    leaving: dict[str, list[int]] = {}
    for number, edge in enumerate(known):
        if edge.attenuation < 1:
            leaving.setdefault(edge.from_asset, []).append(number)
    passing = [1 - edge.attenuation for edge in known]
    return {origin: _reached(known, passing, leaving, origin) for origin in origins}


def _reached(
    edges: Sequence[AssetEdge], passing: Sequence[float], leaving: Mapping[str, Sequence[int]], origin: str
) -> dict[str, Reach]:
    ways: dict[str, list[tuple[int, ...]]] = {}
    front: list[tuple[int, ...]] = [(number,) for number in leaving.get(origin, [])]
    for _ in range(MAX_DEPTH):
        for way in front:
            ways.setdefault(edges[way[-1]].to_asset, []).append(way)
        front = [
            (*way, number)
            for way in front
            for number in leaving.get(edges[way[-1]].to_asset, [])
            if edges[number].to_asset not in {origin, *(edges[step].to_asset for step in way)}
        ]
    return {asset: _reach(edges, passing, found, origin) for asset, found in sorted(ways.items())}


def _reach(edges: Sequence[AssetEdge], passing: Sequence[float], ways: Sequence[tuple[int, ...]], origin: str) -> Reach:
    def passes(way: Iterable[int]) -> float:
        return prod([passing[number] for number in way])

    best = max(ways, key=lambda way: (passes(way), -len(way)))
    if len(ways) == 1:
        probability = passes(best)
    elif len(ways) > EXACT_WAYS_MAX:
        probability = 1 - prod(1 - passes(way) for way in ways)
    else:
        none_passes: dict[frozenset[int], int] = {frozenset(): 1}  # product of (1 - way), as sets of edges with signs
        for way in ways:
            for chosen, sign in list(none_passes.items()):
                both = chosen.union(way)
                none_passes[both] = none_passes.get(both, 0) - sign
        probability = 1 - sum(sign * passes(chosen) for chosen, sign in none_passes.items() if sign)
    path = (origin, *(edges[number].to_asset for number in best))
    return Reach(
        probability=min(1.0, max(0.0, probability)), path=path, kinds=tuple(edges[number].kind for number in best)
    )


def exposure(
    edges: Iterable[AssetEdge], origin: str, severity_weight: float, depth: int = MAX_DEPTH
) -> dict[str, Exposure]:
    """Exposure of every asset that is reached from `origin` over at most `depth` (≤ 3) edges, the highest first.

    `severity_weight` in [0, 1] is the origin's own.  The best path counts, parallel paths do not add up: so a higher
    attenuation, or one edge less, never raises any value.  Cycles are harmless, since an edge never amplifies.
    Equal values go to the shorter path, then to the first in alphabetical order.
    """
    if not 0 <= severity_weight <= 1:
        raise ValueError(f"severity_weight is within 0 and 1, not {severity_weight}")
    ordered = sorted(edges, key=lambda edge: (edge.from_asset, edge.to_asset, edge.kind, edge.attenuation))
    best: dict[str, Exposure] = {}
    front = {origin: Exposure(value=severity_weight, path=(origin,), kinds=())}
    for _ in range(min(depth, MAX_DEPTH)):
        reached: dict[str, Exposure] = {}
        for edge in ordered:
            before = front.get(edge.from_asset)
            if before is None or edge.to_asset in before.path:
                continue
            step = _pass_on(before, edge)
            if step.value > 0 and (edge.to_asset not in reached or _rank(step) < _rank(reached[edge.to_asset])):
                reached[edge.to_asset] = step
        for asset, step in reached.items():
            if asset not in best or _rank(step) < _rank(best[asset]):
                best[asset] = step
        front = reached
    return dict(sorted(best.items(), key=lambda item: (-item[1].value, item[0])))


def _pass_on(before: Exposure, edge: AssetEdge) -> Exposure:
    return Exposure(
        value=before.value * (1 - edge.attenuation),
        path=(*before.path, edge.to_asset),
        kinds=(*before.kinds, edge.kind),
    )


def _rank(step: Exposure) -> tuple[float, int, tuple[str, ...], tuple[str, ...]]:
    return -step.value, len(step.path), step.path, step.kinds
