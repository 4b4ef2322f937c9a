"""The fault graph learns from verdicts, forgets nothing, and is the same after any interruption."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from drivers.errors import BadInput, Fatal, Transient
from journal.fault_graph import EdgeChange, Episode, FaultGraph, Ranked, SeedEdge, SeedNode, open_or_rebuild

ROOT = Path(__file__).parents[2]
CAUSES = {
    "turn_breakdown": 0.7,
    "selector_arcing": 0.6,
    "gas_leaking_in": 0.45,
    "lead_arcing": 0.4,
    "floating_part": 0.25,
}
SEED = (
    [
        *(SeedNode(name=name, ntype="FailureMode") for name in CAUSES),
        *(SeedNode(name=name, ntype="Indicator") for name in ("dga.D2", "dga.D1", "SIML.C2H2ppm")),
        SeedNode(name="tank_rupture", ntype="Effect"),
    ],
    [
        *(SeedEdge(etype="EVIDENCED_BY", src=n, dst="dga.D2", strength=s, source="a book") for n, s in CAUSES.items()),
        SeedEdge(etype="EVIDENCED_BY", src="floating_part", dst="dga.D1", strength=0.65, source="a book"),
        SeedEdge(etype="EVIDENCED_BY", src="selector_arcing", dst="SIML.C2H2ppm", strength=0.6, source="a book"),
        SeedEdge(etype="HAS_EFFECT", src="turn_breakdown", dst="tank_rupture", strength=1.0, source="a book"),
    ],
)
SEEN = ("dga.D2", "SIML.C2H2ppm")


def episode(number: int = 1, **changes: object) -> Episode:
    standard = {
        "episode_id": f"run-{number}",
        "asset_id": "T1",
        "model": "TR-40",
        "indicators": SEEN,
        "suspected_code": "D2",
        "final_code": "D2",
        "final_cause": "lead_arcing",
        "outcome": "confirmed",
        "basis": "internal_inspection",
        "observed_at": datetime(2026, 3, 1, 12, tzinfo=UTC),
    }
    return Episode.model_validate({**standard, **changes})


def names(ranked: tuple[Ranked, ...]) -> list[str]:
    return [item.cause for item in ranked]


def place(graph: FaultGraph, cause: str, model: str | None = "TR-40") -> int:
    return names(graph.rank(["dga.D2"], model, 99)).index(cause)


def change_of(changes: tuple[EdgeChange, ...], src: str, dst: str) -> EdgeChange:
    (found,) = [change for change in changes if (change.after.src, change.after.dst) == (src, dst)]
    return found


@pytest.fixture
def graph(tmp_path):
    made, note = open_or_rebuild(tmp_path / "graph.duckdb", SEED, [])
    assert note == ""
    yield made
    made.close()


def test_before_any_verdict_the_seed_ranks(graph):
    ranked = graph.rank(["dga.D2"], "TR-40", 9)
    assert names(ranked) == ["turn_breakdown", "selector_arcing", "gas_leaking_in", "lead_arcing", "floating_part"]
    assert sum(item.score for item in ranked) == pytest.approx(1)
    assert ranked[0].paths[0].nodes == ("dga.D2", "turn_breakdown")
    assert ranked[0].paths[0].source == "a book"
    assert (ranked[0].paths[0].confirmed, ranked[0].paths[0].suspected) == (0, 0)


@pytest.mark.parametrize("cause", sorted(CAUSES))
@pytest.mark.parametrize("seen", [("dga.D2",), SEEN])
def test_one_confirmed_verdict_brings_the_cause_of_this_model_to_the_top(graph, cause, seen):
    graph.consolidate(episode(indicators=seen, final_cause=cause), 10)
    first = graph.rank(seen, "TR-40", 1)[0]
    assert first.cause == cause
    assert first.paths[0].nodes == ("model:TR-40", cause)
    assert first.paths[0].confirmed == 1
    assert graph.log_odds("D2", "TR-40") == pytest.approx(0.693, abs=0.001)


def test_another_model_learns_less(graph):
    before = graph.rank(["dga.D2"], "OTHER", 9)
    graph.consolidate(episode(), 10)
    after = graph.rank(["dga.D2"], "OTHER", 9)
    assert names(after)[0] == "turn_breakdown"
    share = {item.cause: item.score for item in before}
    assert {item.cause: item.score for item in after}["lead_arcing"] > share["lead_arcing"]
    assert graph.log_odds("D2", "OTHER") == 0


def test_the_limit_cuts_the_list_and_not_the_shares(graph):
    assert graph.rank(["dga.D2"], None, 9)[:2] == graph.rank(["dga.D2"], None, 2)


def test_unknown_indicators_rank_nothing(graph):
    assert graph.rank(["SIML.Xy"], "TR-40", 5) == ()
    assert graph.rank([], "TR-40", 5) == ()


def test_too_many_indicators_are_refused(graph):
    with pytest.raises(BadInput, match="64"):
        graph.rank([f"A.b{number}" for number in range(65)], None, 5)


@pytest.mark.parametrize(
    ("basis", "confirmed", "suspected", "weight"),
    [
        ("internal_inspection", 1, 0, 100),
        ("electrical_test", 1, 0, 100),
        ("lab_analysis", 0, 1, 30),
        ("operator_judgement", 0, 1, 1),
    ],
)
def test_a_verdict_weighs_by_its_basis(graph, basis, confirmed, suspected, weight):
    after = change_of(graph.consolidate(episode(basis=basis), 10), "lead_arcing", "dga.D2").after
    assert (after.confirmed, after.suspected, after.weight_for) == (confirmed, suspected, weight)


def test_a_hundred_wrong_suspicions_do_not_overturn_one_inspection(graph):
    graph.consolidate(episode(1), 1)
    for number in range(2, 52):
        graph.consolidate(episode(number, basis="operator_judgement", final_cause="floating_part"), number)
    assert place(graph, "lead_arcing") == 0


def test_a_verdict_without_a_cause_confirms_the_code_and_only_suspects_the_first_cause(graph):
    changes = graph.consolidate(episode(final_cause=None, indicators=("dga.D2",)), 10)
    cause = change_of(changes, "turn_breakdown", "dga.D2").after
    code = change_of(changes, "dga.D2", "model:TR-40").after
    assert (cause.confirmed, cause.suspected, cause.weight_for) == (0, 1, 1)
    assert (code.confirmed, code.suspected, code.weight_for) == (1, 0, 100)


def test_a_rejected_belief_is_counted_against_and_what_was_found_for(graph):
    verdict = episode(outcome="rejected", suspected_code="D2", final_code="D1", final_cause="floating_part")
    changes = graph.consolidate(verdict, 10)
    believed = change_of(changes, "selector_arcing", "dga.D2").after  # first for D2 with acetylene
    assert (believed.background, believed.weight_against, believed.confirmed) == (1, 100, 0)
    assert change_of(changes, "floating_part", "dga.D1").after.confirmed == 1
    assert change_of(changes, "dga.D2", "model:TR-40").after.background == 1
    assert graph.log_odds("D2", "TR-40") < 0 < graph.log_odds("D1", "TR-40")


def test_a_nuisance_loses_its_voice(graph):
    before = {item.cause: item.score for item in graph.rank(SEEN, "TR-40", 9)}
    for number in range(1, 6):
        nothing = episode(number, outcome="no_fault_found", final_code="N", final_cause=None)
        graph.consolidate(nothing, number)
    after = {item.cause: item.score for item in graph.rank(SEEN, "TR-40", 9)}
    spread = max(after.values()) / min(after.values())
    assert spread < max(before.values()) / min(before.values())
    assert graph.log_odds("D2", "TR-40") == -1.0


def test_log_odds_stay_within_their_bound(graph):
    for number in range(1, 9):
        graph.consolidate(episode(number), number)
    assert graph.log_odds("D2", "TR-40") == 1.0
    assert graph.log_odds("D2", None) == 0.0


def test_an_asset_without_a_model_teaches_the_failure_mode_alone(graph):
    changes = graph.consolidate(episode(model=None), 10)
    assert {change.after.etype for change in changes} == {"EVIDENCED_BY"}
    assert names(graph.rank(SEEN, None, 1))


def test_what_was_never_seen_is_learned_as_a_new_edge(graph):
    changes = graph.consolidate(episode(indicators=("dga.D2", "SPDC.PaDschAlm"), final_cause="new_mode"), 10)
    learned = change_of(changes, "new_mode", "SPDC.PaDschAlm")
    assert learned.before is None
    assert learned.after.valid_from == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert "new_mode" in names(graph.rank(["SPDC.PaDschAlm"], "TR-40", 9))


@pytest.mark.parametrize("cause", ["tank_rupture", "dga.D1", "SIML.New"])
def test_a_cause_that_is_something_else_counts_as_not_named(graph, cause):
    changes = graph.consolidate(episode(final_cause=cause), 10)
    assert cause not in {change.after.src for change in changes if change.after.etype == "EVIDENCED_BY"}
    assert change_of(changes, "selector_arcing", "dga.D2").after.weight_for == 1
    assert graph.exemplars(cause, "TR-40") == ()


def test_transaction_time_starts_at_one_and_a_refusal_writes_nothing(graph):
    before = graph.digest()
    with pytest.raises(BadInput, match="starts at 1"):
        graph.consolidate(episode(), 0)
    assert graph.digest() == before


def test_the_past_stays_readable(graph):
    believed = set(graph.edges(99))
    first = graph.consolidate(episode(1), 10)
    graph.consolidate(episode(2), 20)
    assert {edge.model_copy(update={"tx_to": None}) for edge in graph.edges(99, as_of=9)} == believed
    at_first = {edge.key: edge for edge in graph.edges(99, as_of=10)}
    assert all(at_first[change.after.key].confirmed == change.after.confirmed for change in first)
    assert graph.edges(1)[0].confirmed == 2


def test_counting_twice_changes_nothing_and_says_the_same(graph):
    first = graph.consolidate(episode(), 10)
    before = graph.digest()
    assert graph.consolidate(episode(), 11) == first
    assert graph.digest() == before
    assert graph.consolidate(episode(rule_version=2), 12) != first
    assert graph.replayed() == (("run-1", 1), ("run-1", 2))


def test_verdicts_out_of_order_keep_time_growing(graph):
    graph.consolidate(episode(1), 50)
    late = graph.consolidate(episode(2), 40)
    assert {change.after.tx_from for change in late} == {51}


def test_five_exemplars_are_kept_word_for_word(graph):
    for number in range(1, 8):
        graph.consolidate(episode(number), number)
    assert graph.exemplars("lead_arcing", "TR-40") == tuple(episode(number) for number in range(1, 6))
    assert graph.exemplars("lead_arcing", None) == ()


def test_seeding_again_does_nothing_and_another_seed_is_refused(graph):
    before = graph.digest()
    graph.seed(*SEED)
    assert graph.digest() == before
    with pytest.raises(BadInput, match="rebuild"):
        graph.seed(SEED[0], SEED[1][1:])


def test_threads_may_call_at_once(graph):
    start = threading.Barrier(4)

    def work(number: int) -> int:
        start.wait(10)
        graph.consolidate(episode(number), number)
        return len(graph.rank(SEEN, "TR-40", 9))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(1, 5))) == [5, 5, 5, 5]
    assert graph.edges(1)[0].confirmed == 4


OPEN = """
import sys
from pathlib import Path
from journal.fault_graph import FaultGraph
FaultGraph.open(Path(sys.argv[1]))
"""


@pytest.mark.usefixtures("graph")
def test_only_one_process_may_hold_the_file(tmp_path):
    command = [sys.executable, "-c", OPEN, str(tmp_path / "graph.duckdb")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert Transient.__name__ in done.stderr.splitlines()[-1]


def test_a_closed_graph_says_so(tmp_path):
    graph = FaultGraph.open(tmp_path / "graph.duckdb")
    graph.close()
    with pytest.raises(Fatal):
        graph.edges(1)


HISTORY = [(episode(1), 10), (episode(2, final_cause=None), 11), (episode(3, outcome="rejected", final_code="D1"), 15)]


def digest_of(path: Path, episodes: list[tuple[Episode, int]], seed=SEED) -> tuple[str, str]:
    graph, note = open_or_rebuild(path, seed, episodes)
    digest = graph.digest()
    graph.close()
    return digest, note


def test_reopening_completes_what_is_missing(tmp_path):
    path = tmp_path / "graph.duckdb"
    expected = digest_of(tmp_path / "other.duckdb", HISTORY)
    assert digest_of(path, HISTORY[:1])[1] == ""
    assert digest_of(path, HISTORY) == expected
    assert digest_of(path, HISTORY[:2]) == expected  # a step ahead of the journal: the resumed step agrees


def test_a_graph_that_disagrees_with_the_journal_is_rebuilt(tmp_path):
    path = tmp_path / "graph.duckdb"
    digest_of(path, [(episode(9), 5)])
    digest, note = digest_of(path, HISTORY)
    assert "did not agree" in note
    assert digest == digest_of(tmp_path / "other.duckdb", HISTORY)[0]


def test_a_new_seed_makes_the_graph_anew(tmp_path):
    path = tmp_path / "graph.duckdb"
    seed = (SEED[0], SEED[1][:3])
    digest_of(path, HISTORY)
    digest, note = digest_of(path, HISTORY, seed)
    assert "seed has changed" in note
    assert digest == digest_of(tmp_path / "other.duckdb", HISTORY, seed)[0]


@pytest.mark.parametrize("offset", [0, 4096, 8192, 20000])
def test_a_damaged_file_is_set_aside_and_made_anew(tmp_path, offset):
    path = tmp_path / "graph.duckdb"
    expected, _ = digest_of(path, HISTORY)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(os.urandom(12000))
    assert digest_of(path, HISTORY)[0] == expected
    assert (tmp_path / "graph.duckdb.damaged").exists()


def test_seed_rows_that_changed_unseen_are_made_anew(tmp_path):
    path = tmp_path / "graph.duckdb"
    expected, _ = digest_of(path, HISTORY)
    graph = FaultGraph.open(path)
    graph._connection.execute("UPDATE edge SET strength = 0 WHERE tx_from = 0 AND src = 'floating_part'")
    graph.close()
    digest, note = digest_of(path, HISTORY)
    assert digest == expected
    assert "seed rows" in note


def test_without_a_disk_the_graph_lives_in_memory(tmp_path):
    digest, note = digest_of(tmp_path / "missing" / "graph.duckdb", HISTORY)
    assert "held in memory" in note
    assert digest == digest_of(tmp_path / "graph.duckdb", HISTORY)[0]


def test_every_block_is_read_when_opening(tmp_path):
    path = tmp_path / "graph.duckdb"
    expected, _ = digest_of(path, HISTORY)
    sound = path.read_bytes()
    for offset in range(12288, len(sound), 16384):
        path.write_bytes(sound[: offset + 64] + os.urandom(1024) + sound[offset + 1088 :])
        graph, _ = open_or_rebuild(path, SEED, HISTORY)
        assert graph.digest() == expected
        assert graph.rank(SEEN, "TR-40", 1)
        graph.close()


KILLED = """
import sys
from pathlib import Path
from tests_support import HISTORY, SEED
from journal.fault_graph import open_or_rebuild
graph, _ = open_or_rebuild(Path(sys.argv[1]), SEED, [])
for episode, seq in HISTORY:
    graph.consolidate(episode, seq)
    print(seq, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("survived", [1, 2, 3])
def test_the_graph_survives_sigkill(tmp_path, survived):
    path = tmp_path / "graph.duckdb"
    shutil.copy(__file__, tmp_path / "tests_support.py")
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        for _ in range(survived):
            assert child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    graph = FaultGraph.open(path)
    assert len(graph.replayed()) >= survived
    graph.close()
    assert digest_of(path, HISTORY) == digest_of(tmp_path / "other.duckdb", HISTORY)


def drawn_episodes() -> st.SearchStrategy[Episode]:
    return st.builds(
        episode,
        st.integers(1, 6),
        model=st.sampled_from(["TR-40", "TR-63", None]),
        indicators=st.sampled_from([("dga.D2",), SEEN, ("SIML.C2H2ppm",)]),
        suspected_code=st.sampled_from(["D2", "D1", ""]),
        final_code=st.sampled_from(["D2", "D1", "N"]),
        final_cause=st.sampled_from([*CAUSES, None]),
        outcome=st.sampled_from(["confirmed", "rejected", "no_fault_found"]),
        basis=st.sampled_from(["internal_inspection", "lab_analysis", "operator_judgement"]),
    )


class Consolidation(RuleBasedStateMachine):
    """However it is repeated, reopened and rebuilt, the graph is the one that its history makes."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "graph.duckdb"
        self.graph, _ = open_or_rebuild(self.path, SEED, [])
        self.history: list[tuple[Episode, int]] = []
        self.digest = self.graph.digest()

    @rule(item=drawn_episodes(), step=st.integers(-3, 5))
    def consolidate(self, item: Episode, step: int) -> None:
        seq = max(1, len(self.history) + step)
        known = [past for past, _ in self.history if past.episode_id == item.episode_id]
        self.graph.consolidate(item, seq)
        self.history += [] if known else [(item, seq)]
        digest = self.graph.digest()
        assert (digest == self.digest) is bool(known)
        self.digest = digest

    @rule()
    def reopen(self) -> None:
        self.graph.close()
        self.graph, note = open_or_rebuild(self.path, SEED, self.history)
        assert note == ""

    @rule()
    def rebuild(self) -> None:
        self.graph.rebuild(self.history)

    @invariant()
    def same_graph(self) -> None:
        assert self.graph.digest() == self.digest
        current = [edge.key for edge in self.graph.edges(999)]
        assert len(current) == len(set(current))

    def teardown(self) -> None:
        self.graph.close()
        del self.graph
        shutil.rmtree(self.folder)


TestConsolidation = Consolidation.TestCase
TestConsolidation.settings = settings(
    max_examples=12, stateful_step_count=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def test_named_causes_count_alike_in_any_order(tmp_path):
    items = [episode(number, final_cause=cause) for number, cause in enumerate(sorted(CAUSES), start=1)]
    counts = []
    for name, order in (("a", items), ("b", items[::-1])):
        graph, _ = open_or_rebuild(tmp_path / name, SEED, [(item, seq) for seq, item in enumerate(order, start=1)])
        counts.append({edge.key: (edge.confirmed, edge.weight_for, edge.weight_against) for edge in graph.edges(999)})
        graph.close()
    assert counts[0] == counts[1]
