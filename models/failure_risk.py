"""Risk of a station's assets: how likely each fails in a year, and what that costs, its neighbours included.

    risk_i = p_i · (own_i + sum over j of P(j is hit | i fails) · own_j)

Inputs: assets with nameplate and `[asset.risk]`, edges of the asset graph, standing severities by asset.  Outputs: rows
ranked by risk, each with the neighbour and the way that carry most of it, and what was assumed.

Probability: the form of Ofgem's Common Network Asset Indices Methodology (CNAIM v2.1): a health score ages from 0.5 by
exp(rate·age) to at most 5.5, and failures rise with 1 + C·H + (C·H)²/2 + (C·H)³/6, C = 1.087, flat below H = 4.  The
level is not CNAIM's but the owner's `failures_per_year` of an asset in good health; without it, transformers take
0.53 % a year (CIGRE TB 642, substation units; one source) and others 0.5 % (engineering judgement).
A standing finding lifts the health score to the lower end of CNAIM's bands HI3 (advisory, 5.5), HI4 (warning, 6.5) or
HI5 (critical, 8): engineering judgement, no published relation.  The modifiers of CNAIM are not modelled.
Limits of validity: ranks assets of one station.  Nothing here is a forecast of one machine's failure, consequences are
in the owner's own unit, and what an edge lets through is the owner's estimate.  Called by `blackstart risk` and for the
order of alarms within a priority; pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import exp, log

from pydantic import Field

from drivers.base import Frozen, Name
from drivers.errors import BadInput
from models.asset import Asset, AssetKind
from models.findings import Severity
from models.risk import AssetEdge, EdgeKind, Reach, reaches

__all__ = (
    "Hit",
    "RiskRow",
    "ageing_rate_per_year",
    "expected_life_years",
    "failures_per_year",
    "health_score",
    "if_it_fails",
    "rank_risk",
)

NEW_SCORE, END_SCORE, FLAT_SCORE, WORST_SCORE = 0.5, 5.5, 4.0, 10.0
CURVE_C = 1.087
SCORE_OF = {Severity.NONE: 0.0, Severity.ADVISORY: 5.5, Severity.WARNING: 6.5, Severity.CRITICAL: 8.0}
USUAL_FAILURES_PER_YEAR = {AssetKind.POWER_TRANSFORMER: 0.0053}
OTHER_FAILURES_PER_YEAR = 0.005
PROBABILITY_MAX = 1.0


class RiskRow(Frozen):
    """One asset's risk; `path` and `kinds` lead to the neighbour that adds most, empty where none does."""

    asset_id: Name
    risk: float
    failures_per_year: float = Field(ge=0, le=1)
    health_score: float
    own_consequence: float
    collateral_consequence: float
    path: tuple[Name, ...] = ()
    kinds: tuple[EdgeKind, ...] = ()
    path_share: float = Field(default=0.0, ge=0, le=1, description="of the risk that the neighbour at its end makes")
    assumptions: tuple[str, ...] = ()


class Hit(Frozen):
    """What a failure of one asset does to another."""

    asset_id: Name
    probability: float
    expected_consequence: float
    path: tuple[Name, ...]
    kinds: tuple[EdgeKind, ...]


def expected_life_years(normal_life_years: float, duty_factor: float = 1.0, location_factor: float = 1.0) -> float:
    """Normal life shortened by duty and place (CNAIM)."""
    if min(normal_life_years, duty_factor, location_factor) <= 0:
        raise BadInput("life and factors are above 0")
    return normal_life_years / (duty_factor * location_factor)


def ageing_rate_per_year(life_years: float) -> float:
    """The rate that brings a new asset's score of 0.5 to 5.5 at its expected life (CNAIM's beta 1)."""
    return log(END_SCORE / NEW_SCORE) / life_years


def health_score(rate_per_year: float, age_years: float) -> float:
    """Score by age alone, at most 5.5 (CNAIM's initial health score)."""
    return min(END_SCORE, NEW_SCORE * exp(min(rate_per_year * age_years, 50.0)))


def failures_per_year(score: float, in_good_health: float) -> float:
    """Probability of failure in a year at this health score, from that of an asset in good health (score to 4)."""
    if not 0 <= score <= WORST_SCORE:
        raise BadInput(f"health score {score} is outside 0…{WORST_SCORE:g}")
    return min(PROBABILITY_MAX, in_good_health * _curve(max(score, FLAT_SCORE)) / _curve(FLAT_SCORE))


def rank_risk(
    assets: Sequence[Asset], edges: Iterable[AssetEdge], standing: Mapping[str, Severity] | None = None
) -> list[RiskRow]:
    """Every asset, the highest risk first; `standing` is the worst severity found in each asset, if any."""
    reach_of = reaches(edges, [asset.id for asset in assets])
    own, notes = _consequences(assets)
    rows = []
    for asset in assets:
        score, per_year, assumptions = _likelihood(asset, (standing or {}).get(asset.id, Severity.NONE))
        reached = reach_of[asset.id]
        collateral = {name: reach.probability * own.get(name, 0.0) for name, reach in reached.items()}
        total = own[asset.id] + sum(collateral.values())
        lead = max(collateral, key=lambda name: (collateral[name], name), default="")
        leads = bool(lead) and collateral[lead] > 0
        rows.append(
            RiskRow(
                asset_id=asset.id,
                risk=per_year * total,
                failures_per_year=per_year,
                health_score=score,
                own_consequence=own[asset.id],
                collateral_consequence=sum(collateral.values()),
                path=reached[lead].path if leads else (),
                kinds=reached[lead].kinds if leads else (),
                path_share=collateral[lead] / total if leads else 0.0,
                assumptions=assumptions + notes.get(asset.id, ()),
            )
        )
    return sorted(rows, key=lambda row: (-row.risk, row.asset_id))


def if_it_fails(assets: Sequence[Asset], edges: Iterable[AssetEdge], failed: str) -> list[Hit]:
    """What a failure of `failed` would do now: itself first, then its neighbours by expected consequence."""
    own, _ = _consequences(assets)
    if failed not in own:
        raise BadInput(f"no asset {failed!r}; configured are: {', '.join(sorted(own))}")
    hits = [_hit(name, reach, own) for name, reach in reaches(edges, [failed])[failed].items() if name in own]
    hits.sort(key=lambda hit: (-hit.expected_consequence, -hit.probability, hit.asset_id))
    itself = Hit(asset_id=failed, probability=1.0, expected_consequence=own[failed], path=(failed,), kinds=())
    return [itself, *hits]


def _hit(name: str, reach: Reach, own: Mapping[str, float]) -> Hit:
    expected = reach.probability * own[name]
    return Hit(
        asset_id=name, probability=reach.probability, expected_consequence=expected, path=reach.path, kinds=reach.kinds
    )


def _curve(score: float) -> float:
    x = CURVE_C * score
    return 1 + x + x**2 / 2 + x**3 / 6


def _likelihood(asset: Asset, severity: Severity) -> tuple[float, float, tuple[str, ...]]:
    plate, age_years = asset.risk, asset.nameplate.age_years
    assumptions: tuple[str, ...] = ()
    score = FLAT_SCORE
    if plate.normal_life_years is None or age_years is None:
        assumptions += ("age_years or normal_life_years unknown: in good health but for its findings",)
    else:
        life_years = expected_life_years(plate.normal_life_years, plate.duty_factor, plate.location_factor)
        score = health_score(ageing_rate_per_year(life_years), age_years)
    base = plate.failures_per_year
    if base is None:
        base = USUAL_FAILURES_PER_YEAR.get(asset.kind, OTHER_FAILURES_PER_YEAR)
        source = "CIGRE TB 642" if asset.kind in USUAL_FAILURES_PER_YEAR else "engineering judgement"
        assumptions += (f"failures_per_year unknown: {base:g} taken ({source})",)
    score = max(score, SCORE_OF[severity])
    return score, failures_per_year(score, base), assumptions


def _consequences(assets: Sequence[Asset]) -> tuple[dict[str, float], dict[str, tuple[str, ...]]]:
    """The owner's figures; criticality stands in where no asset has one, 0 where some have."""
    if all(asset.risk.consequence is None for asset in assets):
        note = "no asset states a consequence: criticality taken in its place"
        return {asset.id: float(asset.criticality) for asset in assets}, {asset.id: (note,) for asset in assets}
    own = {asset.id: asset.risk.consequence or 0.0 for asset in assets}
    missing = ("consequence unknown: counted as 0",)
    return own, {asset.id: missing for asset in assets if asset.risk.consequence is None}
