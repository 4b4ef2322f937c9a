"""Killing the daemon at random moments changes nothing that it concludes and repeats nothing that it finished.

Two runs of held plateaus, each before a simulator of its own: one undisturbed, one killed again and again.  A
plateau is left only when the state that belongs to it is held, so that both see the same plant.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb
import pytest

from drivers.errors import BadInput, Transient

CAUSE = "bushing_connection_arcing"
LIFE_S = (0.0, 5.0)  # a life of the daemon that is cut at a moment of the clock; a start takes about two seconds
STEP_WAIT_S = 5.0  # how long a kill waits for the next step
AFTER_STEP_S = (0.0, 0.03)  # about what a step takes
LOOK_S = 0.001
PLATEAU_CYCLES = 6  # measurements in one life that a plateau must have shown to count as held: the gate needs five


@dataclass(frozen=True)
class Plateau:
    """One step of the script and how its being held is recognised."""

    event: str  # of the scenario; "verdict" is what people hand in instead
    asset: str
    held: Callable[[dict[str, Any]], bool]  # over the asset's DgaFault alarm at SCADA


PLATEAUS = (
    Plateau("t1-arcing", "T1", lambda alarm: alarm["stage"] == "diagnosed"),
    Plateau("t1-sparking", "T1", lambda alarm: alarm["stage"] == "diagnosed"),
    Plateau("t1-clear", "T1", lambda alarm: alarm["active_state"] == "Inactive"),
    Plateau("t2-hot", "T2", lambda alarm: alarm["stage"] == "diagnosed"),
    Plateau("verdict", "T1", lambda alarm: alarm["stage"] == "verdict"),
)


async def play(site: Any, kills_per_plateau: list[int], rng: random.Random) -> dict[str, Any]:
    """All plateaus; returns what is concluded at the end, without times and ids that contain times."""
    await site.daemon.start()
    await site.all_good()
    for plateau, kills in zip(PLATEAUS, kills_per_plateau, strict=True):
        begin = asyncio.create_task(_begin(site, plateau))
        for _ in range(kills):
            await _cut_at_random(site, rng)
            await site.daemon.start()
        await begin
        await _hold(site, plateau)
    await site.status_when(lambda status: status["outbox"]["pending"] == 0)
    concluded = await _concluded(site)
    assert await site.daemon.stop() == 0
    return concluded


async def _begin(site: Any, plateau: Plateau) -> None:
    if plateau.event != "verdict":
        await site.sim.command("trigger", id=plateau.event)
        return
    run_id = _gas_alarm(site, plateau.asset)["run_id"]
    verdict = {
        "outcome": "confirmed",
        "final_code": "D2",
        "basis": "internal_inspection",
        "observed_at": "2026-01-01T00:00:00+00:00",
        "by": "inspector",
        "final_cause": CAUSE,
    }

    while not await _handed_in(site, run_id, verdict):  # noqa: ASYNC110 - the daemon dies in between
        await asyncio.sleep(0.05)


async def _handed_in(site: Any, run_id: str, verdict: dict[str, Any]) -> bool:
    """Whether the gateway has it; a kill may have swallowed its answer, and the first verdict counts."""
    try:
        await site.ask("verdict", run_id=run_id, verdict=verdict)
    except Transient:
        return False
    except BadInput as err:
        return "already has a verdict" in str(err)
    return True


async def _cut_at_random(site: Any, rng: random.Random) -> None:
    """Kill the daemon: at a moment of the clock, or right after a step that begins or ends."""
    if rng.random() < 0.5:
        await asyncio.sleep(rng.uniform(*LIFE_S))
    else:
        await _next_step(site, rng.randint(1, 3))
        await asyncio.sleep(rng.uniform(*AFTER_STEP_S))
    await site.kill_daemon()


async def _next_step(site: Any, lines: int) -> None:
    """Return when the ledger has grown by some lines, or when it does not within a life."""
    wanted = len(site.ledger_lines()) + lines
    deadline = time.monotonic() + STEP_WAIT_S
    while len(site.ledger_lines()) < wanted and time.monotonic() < deadline:  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(LOOK_S)


async def _hold(site: Any, plateau: Plateau) -> None:
    group = f"{plateau.asset}/dga"
    at_first = (await site.status_when(lambda _: True))["measurements"].get(group, 0)
    await site.status_when(lambda status: status["measurements"].get(group, 0) >= at_first + PLATEAU_CYCLES)
    await site.heard(lambda a: a["asset_id"] == plateau.asset and a["definition"] == "DgaFault" and plateau.held(a))
    finished = "consolidate" if plateau.event == "verdict" else ""
    await site.when("runs", lambda runs: not finished or any(_is_done(run, finished) for run in runs))


def _is_done(run: dict[str, Any], workflow: str) -> bool:
    return run["workflow"] == workflow and run["state"] == "DONE"


def _gas_alarm(site: Any, asset_id: str) -> dict[str, Any]:
    (alarm,) = [a for a in site.scada.alarms.values() if (a["asset_id"], a["definition"]) == (asset_id, "DgaFault")]
    return alarm


async def _concluded(site: Any) -> dict[str, Any]:
    alarms = sorted(site.scada.alarms.values(), key=lambda alarm: (alarm["asset_id"], alarm["definition"]))
    assets = {alarm["run_id"]: alarm["asset_id"] for alarm in alarms}
    runs = {}
    for row in await site.ask("runs", limit=500):
        run = await site.ask("run", run_id=row["run_id"])
        investigation = run["key"].rpartition("/")[2] if run["workflow"] == "consolidate" else run["run_id"]
        name = f"{run['workflow']} {assets[investigation]}"
        assert name not in runs, f"{name} ran twice"
        runs[name] = {"state": run["state"], "steps": sorted((s["key"], s["state"]) for s in run["steps"])}
    learned = [edge for edge in await site.ask("graph", limit=500) if edge["confirmed"] or edge["suspected"]]
    return {
        "alarms": [_timeless(alarm) for alarm in alarms],
        "standing": sorted((a["asset_id"], a["definition"], a["revision"]) for a in await site.ask("alarms")),
        "runs": runs,
        "learned": sorted((e["src"], e["dst"], e["confirmed"], e["suspected"]) for e in learned),
    }


def _timeless(alarm: dict[str, Any]) -> dict[str, Any]:
    finding = alarm["finding"]
    timed = {"alarm_id", "message_id", "event_time", "detection_time", "publish_time", "run_id", "finding"}
    evidence = [
        (sample["point_id"], sample["value"]) for sample in finding["evidence"] if "Tmp" not in sample["point_id"]
    ]
    seen = {key: finding[key] for key in ("code", "family", "severity", "indicator", "method", "facts", "assumptions")}
    return {key: value for key, value in alarm.items() if key not in timed} | {"finding": seen, "evidence": evidence}


def check_scada(site: Any) -> None:
    """Each alarm's revisions came without a gap, and no episode of a condition made two alarms."""
    revisions: dict[str, set[int]] = {}
    for message_id in site.scada.seen:
        alarm_id, _, revision = message_id.rpartition(".")
        revisions.setdefault(alarm_id, set()).add(int(revision))
    assert revisions.keys() == site.scada.alarms.keys()
    for alarm_id, seen in revisions.items():
        assert seen == set(range(1, site.scada.alarms[alarm_id]["revision"] + 1))
    episodes = Counter((a["asset_id"], a["definition"]) for a in site.scada.alarms.values())
    assert set(episodes.values()) == {1}, "each condition of this script comes once"


def check_ledger(site: Any) -> None:
    """By the record outside the journal: what was durable did not begin again."""
    done = set()
    for event, run, key in site.ledger_lines():
        assert (run, key) not in done, f"{key} of {run}: {event} after it was done"
        if event == "done":
            done.add((run, key))


def check_journal(site: Any) -> None:
    """In the journal: one outcome for each step key."""
    with duckdb.connect(str(site.state_dir / "blackstart.duckdb"), read_only=True) as journal:
        counts = journal.sql(
            "SELECT run_id, key, count(*) FROM event WHERE kind = 'step.done' GROUP BY ALL HAVING count(*) > 1"
        )
        assert counts.fetchall() == []


async def killed_like_undisturbed(
    start_site: Any,
    scenario: str,
    configure: Callable[[str], str],
    kills: list[int],
    seed: int,
    tell: Callable[[str], None],
    *,
    core: bool = False,
) -> None:
    rng = random.Random(seed)
    started = time.monotonic()
    async with start_site(scenario, configure=configure, core=core) as site:
        wanted = await play(site, [0] * len(PLATEAUS), rng)
        check_scada(site)
    between = time.monotonic()
    async with start_site(scenario, configure=configure, core=core) as site:
        got = await play(site, kills, rng)
        check_scada(site)
        check_ledger(site)
        check_journal(site)
        repeats = sum(count - 1 for count in site.scada.seen.values())
    tell(
        f"seed {seed}, {sum(kills)} kills: {time.monotonic() - between:.1f} s, undisturbed {between - started:.1f} s;"
        f" {repeats} messages came again; {sum(len(run['steps']) for run in got['runs'].values())} steps"
    )
    assert got == wanted


@pytest.mark.timeout(180)  # a minute on a loaded box
async def test_four_kills_change_nothing(start_site: Any, scenario: Any, quick: Any, seed: int, tell: Any) -> None:
    await killed_like_undisturbed(start_site, scenario("plateaus"), quick, [1, 0, 1, 1, 1], seed, tell)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_twenty_kills_change_nothing(start_site: Any, scenario: Any, quick: Any, seed: int, tell: Any) -> None:
    await killed_like_undisturbed(start_site, scenario("plateaus"), quick, [6, 2, 3, 6, 3], seed, tell)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_five_kills_beside_the_model_change_nothing(
    start_site: Any, scenario: Any, quick: Any, seed: int, tell: Any
) -> None:
    pytest.importorskip("llama_cpp", reason="the reasoning core is not installed")
    await killed_like_undisturbed(start_site, scenario("plateaus"), quick, [2, 0, 0, 2, 1], seed, tell, core=True)
