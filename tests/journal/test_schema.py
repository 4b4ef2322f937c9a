"""The view `runs` and the engine speak one vocabulary: whatever a run's rows, both say the same of where it stands."""

from datetime import UTC, datetime

import duckdb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from journal.engine import Kind, Record, RunState, encode
from journal.engine.history import History
from journal.opening import create

WALL = datetime(2026, 3, 1, tzinfo=UTC)
PLAIN = {"args": [], "version": 1, "code": "", "value": 1, "error": {"type": "E", "message": "m"}, "attempt": 1}
PLAIN |= {"final": False, "voided": [], "child": "c", "paths": [], "change": "x", "at": WALL}
PAYLOAD = encode(PLAIN)
OF_A_RUN = [kind for kind in Kind if kind not in (Kind.ENGINE_LIFE, Kind.SCHEDULE_FIRED, Kind.RUN_STARTED)]
OF_THE_QUEUE = (Kind.RUN_QUEUED, Kind.RUN_DEQUEUED)  # they follow the start, and nothing else comes before

rows = st.lists(
    st.tuples(
        st.sampled_from([kind for kind in OF_A_RUN if kind not in OF_THE_QUEUE]),
        st.sampled_from(["sleep#1", "timeout#1", "verdict#1", "verdict", "t1/look#1"]),
    ),
    max_size=12,
)


def records(queue: int, tail: list[tuple[Kind, str]]) -> list[Record]:
    first = [(Kind.RUN_STARTED, "k"), *((kind, "k") for kind in OF_THE_QUEUE[:queue])]
    return [
        Record(
            seq=seq,
            epoch=1,
            wall=WALL,
            kind=kind,
            run_id="r",
            key=key,
            name="w" if kind.startswith("run.") else key.rpartition("/")[2].partition("#")[0],
            payload=PAYLOAD,
        )
        for seq, (kind, key) in enumerate([*first, *tail], start=1)
    ]


@settings(max_examples=40, deadline=None)
@given(queue=st.integers(0, 2), tail=rows)
@example(queue=1, tail=[])
@example(queue=2, tail=[(Kind.WAIT_OPENED, "verdict#1")])
@example(queue=0, tail=[(Kind.TIMER_SET, "sleep#1"), (Kind.WAIT_ANSWERED, "verdict")])
@example(queue=0, tail=[(Kind.RUN_NONDETERMINISTIC, "k"), (Kind.STEP_IN_DOUBT, "t1/look#1")])
@example(queue=0, tail=[(Kind.RUN_NONDETERMINISTIC, "k"), (Kind.RUN_CANCELLED, "k")])
def test_the_view_and_the_engine_say_the_same(queue: int, tail: list[tuple[Kind, str]]) -> None:
    told = records(queue, [] if queue == 1 else tail)
    with duckdb.connect() as connection:
        create(connection)
        connection.executemany(
            "INSERT INTO event(seq, wall, kind, run_id, key, name) VALUES (?, ?, ?, ?, ?, ?)",
            [[row.seq, row.wall, row.kind, row.run_id, row.key, row.name] for row in told],
        )
        ((state,),) = connection.execute("SELECT state FROM runs").fetchall()
    assert RunState(state) is History.of("r", told).view().state


def test_every_state_can_be_shown() -> None:
    by_state = {
        RunState.QUEUED: (1, []),
        RunState.RUNNING: (2, []),
        RunState.WAITING: (0, [(Kind.CHILD_STARTED, "t1/look#1")]),
        RunState.SLEEPING: (0, [(Kind.TIMER_SET, "sleep#1")]),
        RunState.IN_DOUBT: (0, [(Kind.STEP_IN_DOUBT, "t1/look#1")]),
        **{RunState(kind.partition(".")[2].upper()): (0, [(kind, "k")]) for kind in (Kind.RUN_DONE, Kind.RUN_FAILED)},
        **{
            RunState(kind.partition(".")[2].upper()): (0, [(kind, "k")])
            for kind in (Kind.RUN_CANCELLED, Kind.RUN_PAUSED, Kind.RUN_QUARANTINED, Kind.RUN_NONDETERMINISTIC)
        },
    }
    assert set(by_state) == set(RunState)
    for state, (queue, tail) in by_state.items():
        assert History.of("r", records(queue, tail)).view().state is state
