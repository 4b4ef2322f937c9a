"""The curated knowledge is whole, and a fault in it is named by file and key."""

from pathlib import Path

import pytest

from drivers.errors import Misconfigured
from journal.fault_graph import Episode, open_or_rebuild
from models import knowledge_base
from models.findings import FaultCode
from models.knowledge_base import EdgeType, Knowledge, NodeType

GOOD = """
indicator = [{ name = "dga.D2", words = "arcing", vocabulary = "IEC 60599" }]
mechanism = [{ name = "wear", words = "it wears", iso14224 = "material" }]
effect = [{ name = "trip", words = "it trips", level = "next", severity = 3 }]
action = [{ name = "look", words = "look at it" }]

[[failure_mode]]
name = "arcing_contact"
words = "a contact arcs"
equipment = "PowerTransformer"
cim_failure_mode = "failToCarryLoad"
classification = "minor"
source = "engineering judgement"
mechanisms = ["wear"]
effects = ["trip"]
actions = ["look"]
evidence = [{ indicator = "dga.D2", strength = 0.5, source = "engineering judgement" }]
"""


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return knowledge_base.load()


def folder_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "made.toml").write_text(text, encoding="utf-8")
    return tmp_path


def test_every_fault_code_but_no_fault_has_causes(knowledge):
    seen = {edge.dst for edge in knowledge.edges if edge.etype is EdgeType.EVIDENCED_BY}
    assert {f"dga.{code}" for code in FaultCode if code is not FaultCode.N} <= seen


def test_arcing_has_at_least_four_causes_of_different_strength(knowledge):
    strengths = [edge.strength for edge in knowledge.edges if edge.dst == "dga.D2"]
    assert len(strengths) >= 4
    assert len(set(strengths)) == len(strengths)


def test_every_mode_has_mechanism_effect_action_and_source(knowledge):
    found = {(edge.src, edge.etype) for edge in knowledge.edges}
    assert found == {(mode.name, etype) for mode in knowledge.failure_modes() for etype in EdgeType}
    assert all(edge.source for edge in knowledge.edges)
    assert {node.ntype for node in knowledge.nodes} == set(NodeType)


def test_every_term_is_used(knowledge):
    used = {edge.dst for edge in knowledge.edges} | {mode.name for mode in knowledge.failure_modes()}
    assert {node.name for node in knowledge.nodes} == used


@pytest.mark.parametrize("seen", [("dga.D2",), ("dga.D2", "SIML.C2H2ppm"), ("dga.D2", "SIML.C2H2ppm", "SIML.H2ppm")])
def test_one_confirmed_verdict_changes_the_first_cause_of_arcing(knowledge, seen, tmp_path):
    graph, _ = open_or_rebuild(tmp_path / "graph.duckdb", knowledge.seed(), [])
    before = [item.cause for item in graph.rank(seen, "TR-40", 9)]
    cause = "tap_selector_contact_arcing"
    verdict = Episode.model_validate(
        {
            "episode_id": "run-1",
            "asset_id": "T1",
            "model": "TR-40",
            "indicators": seen,
            "suspected_code": "D2",
            "final_code": "D2",
            "final_cause": cause,
            "outcome": "confirmed",
            "basis": "internal_inspection",
            "observed_at": "2026-03-01T12:00:00Z",
        }
    )
    graph.consolidate(verdict, 1)
    after = [item.cause for item in graph.rank(seen, "TR-40", 9)]
    graph.close()
    assert before[0] == "winding_turn_insulation_breakdown"
    assert after[0] == cause
    assert set(before) == set(after)


def test_a_good_file_loads(tmp_path):
    made = knowledge_base.load(folder_with(tmp_path, GOOD))
    assert len(made.nodes) == 5
    assert {edge.etype for edge in made.edges} == set(EdgeType)
    (mode,) = made.failure_modes()
    assert mode.attributes["classification"] == "minor"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("strength = 0.5", "strength = 1.5", r"made.toml: failure_mode\[0\].evidence\[0\].strength: .*less than"),
        (
            '["wear"]',
            '["tear"]',
            r"made.toml: failure_mode\[0\].mechanisms\[0\]: tear is not defined.*FailureMechanism",
        ),
        ('["wear"]', '["trip"]', r"failure_mode\[0\].mechanisms\[0\]: trip is Effect, expected FailureMechanism"),
        ('["look"]', '["look", "look"]', r"failure_mode\[0\].actions\[1\]: .*already defined at .*actions\[0\]"),
        ('name = "look"', 'name = "trip"', r"action\[0\].name: trip is already defined at made.toml: effect\[0\].name"),
        ("[[failure_mode]]", "[[failure_fashion]]", r"made.toml: failure_fashion: Extra inputs"),
        ('classification = "minor"', 'classification = "tiny"', r"failure_mode\[0\].classification: .*'minor'"),
        ('name = "arcing_contact"', 'name = "Arcing Contact"', r"failure_mode\[0\].name: .*pattern"),
        ('{ indicator = "dga.D2"', '{ indicator = "dga.D9"', r"evidence\[0\].indicator: .*pattern"),
        ("[[failure_mode]]", "[[failure_mode", r"made.toml: .*line"),
    ],
)
def test_a_fault_is_named_by_file_and_key(tmp_path, old, new, message):
    with pytest.raises(Misconfigured, match=message):
        knowledge_base.load(folder_with(tmp_path, GOOD.replace(old, new, 1)))


def test_all_faults_are_named_at_once(tmp_path):
    text = GOOD.replace('["wear"]', '["tear"]').replace('["look"]', '["stare"]')
    with pytest.raises(Misconfigured, match=r"(?s)tear.*stare"):
        knowledge_base.load(folder_with(tmp_path, text))


def test_an_empty_folder_is_no_knowledge(tmp_path):
    with pytest.raises(Misconfigured, match="holds no knowledge"):
        knowledge_base.load(tmp_path)
