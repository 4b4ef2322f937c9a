"""Collateral exposure: a severe finding in one asset in, exposure of its neighbours and the path that carries it out.

The configured asset graph says what would reach what: fire, back-feed, a shared cooling or DC supply, protection.
Exposure is the severity weight times what each edge lets through, along the best path; all values are 0…1 without
unit and rank attention, they are no probabilities.  Called by the wave agent; pure.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator

from drivers.base import Frozen, Name

__all__ = ("AssetEdge", "EdgeKind", "Exposure", "exposure")

MAX_DEPTH = 3  # beyond three edges the configured shares are guesses of guesses

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
