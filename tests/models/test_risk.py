"""Exposure follows the edges, and no barrier ever raises it."""

import itertools
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models.risk import EXACT_WAYS_MAX, AssetEdge, exposure, reaches

ASSETS = "ABCDE"
KINDS = ("fire_exposure", "back_feed", "protection")


def edge(from_asset: str, to_asset: str, attenuation: float = 0.5, kind: str = "fire_exposure") -> AssetEdge:
    return AssetEdge.model_validate(
        {"from_asset": from_asset, "to_asset": to_asset, "kind": kind, "attenuation": attenuation}
    )


def graphs() -> st.SearchStrategy[list[AssetEdge]]:
    pairs = st.sampled_from(list(itertools.permutations(ASSETS, 2)))
    one = st.builds(lambda ends, a, kind: edge(*ends, a, kind), pairs, st.floats(0, 1), st.sampled_from(KINDS))
    return st.lists(one, max_size=12)


def test_exposure_and_its_path():
    edges = [edge("T1", "T2", 0.4), edge("T2", "B1", 0.5, "protection"), edge("T1", "B1", 0.8, "same_bay")]
    found = exposure(edges, "T1", 1.0)
    assert list(found) == ["T2", "B1"]
    assert found["T2"].value == pytest.approx(0.6)
    assert found["B1"].value == pytest.approx(0.3)
    assert found["B1"].path == ("T1", "T2", "B1")
    assert found["B1"].kinds == ("fire_exposure", "protection")


def test_edges_lead_one_way():
    assert exposure([edge("T1", "T2")], "T2", 1.0) == {}


def test_depth_ends_the_wave():
    chain = [edge("A", "B", 0), edge("B", "C", 0), edge("C", "D", 0), edge("D", "E", 0)]
    assert list(exposure(chain, "A", 1.0)) == ["B", "C", "D"]
    assert list(exposure(chain, "A", 1.0, depth=1)) == ["B"]
    assert list(exposure(chain, "A", 1.0, depth=99)) == ["B", "C", "D"]
    assert exposure(chain, "A", 1.0, depth=0) == {}


def test_a_closed_barrier_stops_it():
    assert exposure([edge("A", "B", 1.0), edge("B", "C", 0)], "A", 1.0) == {}


def test_equal_ways_go_to_the_shorter_and_then_the_first_name():
    edges = [edge("A", "C", 0), edge("A", "B", 0), edge("B", "D", 0), edge("C", "D", 0), edge("C", "B", 0)]
    found = exposure(edges, "A", 1.0)
    assert found["D"].path == ("A", "B", "D")
    assert found["B"].path == ("A", "B")


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="severity_weight"):
        exposure([], "A", 1.2)
    with pytest.raises(ValidationError, match="neighbour"):
        edge("A", "A")


@given(graphs(), st.floats(0, 1), st.data())
def test_a_barrier_never_raises_exposure(edges, weight, data):
    before = exposure(edges, "A", weight)
    walled = [item.model_copy(update={"attenuation": data.draw(st.floats(item.attenuation, 1))}) for item in edges]
    fewer = data.draw(st.lists(st.sampled_from(walled), unique_by=id) if walled else st.just([]))
    for after in (exposure(walled, "A", weight), exposure(fewer, "A", weight)):
        assert set(after) <= set(before)
        assert all(after[name].value <= before[name].value for name in after)


@given(graphs(), st.floats(0, 1))
def test_it_equals_the_search_over_all_paths(edges, weight):
    lets_pass: dict[tuple[str, str], float] = {}
    for item in edges:
        ends = (item.from_asset, item.to_asset)
        lets_pass[ends] = max(lets_pass.get(ends, 0.0), 1 - item.attenuation)
    best: dict[str, float] = {}
    for length in (2, 3, 4):
        for path in itertools.permutations(ASSETS, length):
            steps = [lets_pass.get(ends, 0.0) for ends in itertools.pairwise(path)]
            value = math.prod(steps, start=weight) * (path[0] == "A")
            best[path[-1]] = max(best.get(path[-1], 0.0), value)
    found = exposure(edges, "A", weight)
    assert {name: item.value for name, item in found.items()} == {
        name: value for name, value in best.items() if value > 0
    }


@given(graphs(), st.randoms(use_true_random=False))
def test_the_order_of_edges_does_not_matter(edges, random):
    shuffled = list(edges)
    random.shuffle(shuffled)
    found, again = exposure(edges, "A", 0.9), exposure(shuffled, "A", 0.9)
    assert list(found.items()) == list(again.items())


# -- reach: the probability over all ways


def reach(edges, origin="A"):
    return {name: found.probability for name, found in reaches(edges, [origin])[origin].items()}


def test_ways_that_share_an_edge_are_not_counted_twice():
    edges = [edge("A", "B", 0.5), edge("B", "D", 0.5), edge("B", "C", 0), edge("C", "D", 0.5)]
    assert reach(edges)["D"] == pytest.approx(0.5 * (1 - 0.5 * 0.5))


def test_parallel_edges_add_and_the_likeliest_way_is_named():
    edges = [edge("A", "B", 0.5), edge("A", "B", 0.4, "protection")]
    found = reaches(edges, ["A"])["A"]["B"]
    assert found.probability == pytest.approx(1 - 0.5 * 0.4)
    assert (found.path, found.kinds) == (("A", "B"), ("protection",))


def test_cycles_end():
    ring = [edge("A", "B", 0), edge("B", "C", 0), edge("C", "A", 0)]
    assert reach(ring) == {"B": 1.0, "C": 1.0}


def test_depth_ends_the_reach():
    chain = [edge("A", "B", 0), edge("B", "C", 0), edge("C", "D", 0), edge("D", "E", 0)]
    assert set(reach(chain)) == {"B", "C", "D"}


@given(graphs(), st.data())
def test_a_barrier_never_raises_a_reach(edges, data):
    before = reach(edges)
    walled = [item.model_copy(update={"attenuation": data.draw(st.floats(item.attenuation, 1))}) for item in edges]
    fewer = data.draw(st.lists(st.sampled_from(walled), unique_by=id) if walled else st.just([]))
    for after in (reach(walled), reach(fewer)):
        assert set(after) <= set(before)
        assert all(after[name] <= before[name] + 1e-12 for name in after)


def test_more_ways_than_are_reckoned_exactly_give_an_upper_bound():
    ways = EXACT_WAYS_MAX + 2
    edges = [edge("A", "B", 0.2)] + [edge("B", "D", 0.9, "back_feed") for _ in range(ways)]
    exact = 0.8 * (1 - 0.9**ways)
    assert exact < reach(edges)["D"] <= 1


def test_the_reach_equals_what_a_simulation_finds(seed):
    random = Random(seed)
    for _ in range(6):
        ends = random.sample(list(itertools.permutations(ASSETS, 2)), 8)
        edges = [edge(*pair, random.uniform(0.2, 0.9)) for pair in ends]
        found = reach(edges)
        hits = dict.fromkeys(found, 0)
        runs = 6000
        for _ in range(runs):
            open_ = [item for item in edges if random.random() > item.attenuation]
            hit, front = {"A"}, {"A"}
            for _ in range(3):
                front = {item.to_asset for item in open_ if item.from_asset in front} - hit
                hit |= front
            for name in hit - {"A"}:
                hits[name] += 1
        for name, probability in found.items():
            assert hits[name] / runs == pytest.approx(probability, abs=4 * math.sqrt(0.25 / runs))
