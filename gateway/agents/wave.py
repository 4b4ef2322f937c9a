"""The wave agent: carries a severe finding along the edges between assets.

It relays evidence ids, never invents evidence, and may raise attention (exposure, poll rate) but never clears,
lowers or re-ranks anything.
"""

from collections.abc import Callable, Sequence

from drivers.base import Frozen
from models.findings import Finding, Severity
from models.risk import AssetEdge, exposure

__all__ = ("ExposureUpdate", "WaveAgent")

ATTENTION_S = 3600.0  # neighbours are polled faster for this long after each severe finding
DEPTH_MAX = 3  # edges; beyond it the influence is below what any edge table can justify


class ExposureUpdate(Frozen):
    """A neighbour's raised exposure, why, and along which path.  Journalled as it stands."""

    asset_id: str
    origin_asset_id: str
    value: float
    path: tuple[str, ...]
    evidence_ids: tuple[str, ...]


class WaveAgent:
    """Spreads attention over the configured asset graph."""

    def __init__(self, edges: Sequence[AssetEdge], boost: Callable[[str, float], None]) -> None:
        self._edges = tuple(edges)
        self._boost = boost

    def relay(self, finding: Finding) -> list[ExposureUpdate]:
        """Exposure of the neighbours of a critical finding's asset; empty for lesser findings."""
        if finding.severity < Severity.CRITICAL:
            return []
        reached = exposure(self._edges, finding.asset_id, finding.severity / Severity.CRITICAL, depth=DEPTH_MAX)
        updates = [
            ExposureUpdate(
                asset_id=asset_id,
                origin_asset_id=finding.asset_id,
                value=hit.value,
                path=tuple(hit.path),
                evidence_ids=(finding.id,),
            )
            for asset_id, hit in sorted(reached.items())
            if asset_id != finding.asset_id
        ]
        for update in updates:
            self._boost(update.asset_id, ATTENTION_S)
        return updates
