"""How an episode becomes counts on edges, and how counts become a ranking.  Pure; used by `fault_graph` alone.

Consolidation.  A verdict weighs by its basis: inspection and electrical test confirm (100 hundredths), a laboratory
analysis supports (30), an operator's judgement is a suspicion (1).  Found causes are counted for, the belief that the
verdict contradicts is counted against, and where nothing was found, what had been seen is counted against as a nuisance
of that model.  Where nobody named the cause, the cause that the graph ranks first is only suspected (1), whatever the
basis, while the fault code itself keeps the full weight.

Ranking.  Each indicator speaks for a cause by the log-likelihood ratio of a noisy-OR with a leak:
`log((1 - (1 - p)(1 - b)) / b)`, `p` the smoothed probability that the cause shows the indicator (seed strength as
`SEED_CASES` cases, plus counts), `b` how often the indicator shows for no reason on that model.  A nuisance thus loses
its voice, and an indicator never speaks against a cause.  Indicators of one measurement are averaged, since they are
not independent.  The model's own history adds `log((1 + for) / (1 + against))`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from journal.graph_schema import (
    CODE_PREFIX,
    EVIDENCED_BY,
    OBSERVED_IN,
    Edge,
    Episode,
    EvidencePath,
    Ranked,
    code_node,
    model_node,
)

__all__ = ("MAX_LOG_ODDS", "Tally", "code_log_odds", "rank_edges", "shown", "tallies")

HUNDRED = 100
BASIS_WEIGHT = {"internal_inspection": HUNDRED, "electrical_test": HUNDRED, "lab_analysis": 30, "operator_judgement": 1}
SUSPICION = 1  # measured: at 0.01 a stream of wrong suspicions leaves the ranking unharmed
SEED_CASES = 4.0  # curated strength weighs like four inspected cases: one case moves it, none overturns it alone
LEAK = 0.05  # share of a new indicator's appearances taken to be noise before anything was counted
MAX_LOG_ODDS = 1.0  # memory may move a fault code by this much and no more (DESIGN: bounded log-odds)
NO_FAULT = frozenset({"", "N"})


@dataclass(frozen=True, slots=True)
class Tally:
    """What one episode adds to one edge."""

    etype: str
    src: str
    dst: str
    confirmed: int = 0
    suspected: int = 0
    background: int = 0
    weight_for: int = 0
    weight_against: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """The edge that it adds to."""
        return self.etype, self.src, self.dst


def tallies(episode: Episode, first_cause: Callable[[str], str | None]) -> list[Tally]:
    """What `episode` adds, one tally per edge, in a fixed order.

    `first_cause(code)` names the cause that the graph ranks first for the episode when its fault code is `code`.
    """
    weight = BASIS_WEIGHT[episode.basis]
    rejected_same = episode.outcome == "rejected" and episode.final_code == episode.suspected_code
    nothing = episode.outcome == "no_fault_found" or (episode.final_code in NO_FAULT and episode.final_cause is None)
    found = not nothing and not rejected_same
    out: list[Tally] = []
    if found:
        cause = episode.final_cause or first_cause(episode.final_code)
        if cause is not None:
            out += _mode(episode, cause, episode.final_code, _for(weight if episode.final_cause else SUSPICION))
        out += _on_model(episode, episode.final_code, _for(weight))
    if episode.outcome != "confirmed" or not found:
        believed = first_cause(episode.suspected_code)
        if believed is not None and not (found and believed == episode.final_cause):
            out += _mode(episode, believed, episode.suspected_code, _against(weight))
    if nothing:
        out += _on_model(episode, episode.suspected_code, _against(weight))
    elif episode.model is not None and episode.suspected_code not in NO_FAULT and (not found or _changed(episode)):
        out.append(_tally(OBSERVED_IN, code_node(episode.suspected_code), model_node(episode.model), _against(weight)))
    return _merged(out)


def shown(episode: Episode, code: str) -> list[str]:
    """What the episode showed when its fault code is `code`: its other codes were hypotheses, not observations."""
    seen = {name for name in episode.indicators if not name.startswith(CODE_PREFIX)}
    return sorted(seen if code in NO_FAULT else seen | {code_node(code)})


def _changed(episode: Episode) -> bool:
    return episode.suspected_code != episode.final_code


def _for(weight: int) -> dict[str, int]:
    sure = weight == HUNDRED
    return {"confirmed": int(sure), "suspected": int(not sure), "weight_for": weight}


def _against(weight: int) -> dict[str, int]:
    return {"background": 1, "weight_against": weight}


def _tally(etype: str, src: str, dst: str, counts: dict[str, int]) -> Tally:
    return Tally(etype, src, dst, **counts)


def _mode(episode: Episode, cause: str, code: str, counts: dict[str, int]) -> list[Tally]:
    """The edges model → failure mode → indicators."""
    edges = [_tally(EVIDENCED_BY, cause, name, counts) for name in shown(episode, code)]
    if episode.model is not None:
        edges.append(_tally(OBSERVED_IN, cause, model_node(episode.model), counts))
    return edges


def _on_model(episode: Episode, code: str, counts: dict[str, int]) -> list[Tally]:
    """The edges indicator → model: was what this model showed real, or a nuisance?"""
    if episode.model is None:
        return []
    return [_tally(OBSERVED_IN, name, model_node(episode.model), counts) for name in shown(episode, code)]


def _merged(items: Iterable[Tally]) -> list[Tally]:
    """One tally per edge: a cause that was both believed and found in part must not close its row twice."""
    out: dict[tuple[str, str, str], Tally] = {}
    for item in items:
        old = out.get(item.key)
        if old is None:
            out[item.key] = item
            continue
        out[item.key] = Tally(
            *item.key,
            confirmed=old.confirmed + item.confirmed,
            suspected=old.suspected + item.suspected,
            background=old.background + item.background,
            weight_for=old.weight_for + item.weight_for,
            weight_against=old.weight_against + item.weight_against,
        )
    return [out[key] for key in sorted(out)]


def rank_edges(
    indicators: Sequence[str], evidence: Sequence[Edge], history: Sequence[Edge], limit: int
) -> tuple[Ranked, ...]:
    """Causes by falling share; equal shares by name.

    In: the indicators seen, the EVIDENCED_BY edges that end in them, the OBSERVED_IN edges of one model.
    """
    of_model = {edge.src: edge for edge in history}
    groups = defaultdict(set)
    for name in indicators:
        groups[_measurement(name)].add(name)
    by_cause: dict[str, list[Edge]] = defaultdict(list)
    for edge in evidence:
        by_cause[edge.src].append(edge)
    scores = {}
    for cause, edges in by_cause.items():
        total = _history_log_odds(of_model.get(cause))
        for edge in edges:
            total += _voice(edge, of_model.get(edge.dst)) / len(groups[_measurement(edge.dst)])
        scores[cause] = total
    if not scores:
        return ()
    top = max(scores.values())
    shares = {cause: math.exp(score - top) for cause, score in scores.items()}
    whole = math.fsum(shares.values())
    order = sorted(shares, key=lambda cause: (-shares[cause], cause))[:limit]
    return tuple(
        Ranked(cause=cause, score=shares[cause] / whole, paths=_paths(by_cause[cause], of_model.get(cause)))
        for cause in order
    )


def code_log_odds(edge: Edge | None) -> float:
    """How far a model's history moves a fault code, natural log, within ±MAX_LOG_ODDS."""
    return max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, _history_log_odds(edge)))


def _measurement(indicator: str) -> str:
    """Indicators of one logical node come from one device; the fault code is computed from the gases."""
    node = indicator.partition(".")[0]
    return "SIML" if indicator.startswith(CODE_PREFIX) else node


def _voice(edge: Edge, nuisance: Edge | None) -> float:
    """Log-likelihood ratio of one indicator for one cause, at least 0."""
    strong = SEED_CASES * edge.strength + edge.weight_for / HUNDRED
    shows = strong / (SEED_CASES + (edge.weight_for + edge.weight_against) / HUNDRED)
    noise = LEAK
    if nuisance is not None:
        counted = nuisance.weight_against / HUNDRED
        noise = (SEED_CASES * LEAK + counted) / (SEED_CASES + counted + nuisance.weight_for / HUNDRED)
    return math.log((1 - (1 - shows) * (1 - noise)) / noise)


def _history_log_odds(edge: Edge | None) -> float:
    if edge is None:
        return 0.0
    return math.log((1 + edge.weight_for / HUNDRED) / (1 + edge.weight_against / HUNDRED))


def _paths(edges: Sequence[Edge], history: Edge | None) -> tuple[EvidencePath, ...]:
    """The edges as a person reads them: from what was seen, or from the model, to the cause."""
    strongest = sorted(edges, key=lambda edge: (-edge.weight_for, -edge.strength, edge.dst))
    chosen = ([] if history is None else [history]) + strongest
    return tuple(
        EvidencePath(
            nodes=(edge.dst, edge.src),
            confirmed=edge.confirmed,
            suspected=edge.suspected,
            background=edge.background,
            source=edge.source,
        )
        for edge in chosen
    )
