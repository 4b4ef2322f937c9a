"""Durable execution for asyncio: workflows whose every step is kept, so that a crash resumes at the last one.

    ports      Store and Clock, the rows (`Kind` says what each carries), the observer
    errors     everything the engine raises
    codec      values <-> bytes, arguments -> hash
    identity   task factory and scopes: the place of each task, from which step keys are made
    history    a run's rows, folded
    replay     the gate: outcomes reach a body one at a time in recorded order
    timers     one heap of deadlines
    waits      durable waits of a run
    lives      the lives of the process: awake time, deaths, steps of the clock
    run        one run in memory: commit, release, ending
    steps      one step: attempts, deadline, effect class
    source     a body as a hash
    declare    @workflow, @checkpoint, branches
    residence  which runs are in memory, which are parked
    revise     cancel, retry, rewind, fork, reconcile
    schedules  runs that the clock starts
    cron       five fields -> times
    upgrade    new code under open runs
    children   runs that other runs wait for
    queues     runs that wait for their turn
    api        what bodies and steps call
    engine     start, resume, answer, result, close
    memory_store  the Store's twin for tests
    conformance   the durable-agent contract as a pytest plugin

It imports nothing of ours outside this folder.
"""

from journal.engine.api import (
    Settled,
    current_run,
    emit,
    emit_entry,
    idempotency_key,
    now,
    patched,
    random,
    services,
    settle,
    sleep,
    timeout,
    uuid,
    wait_first,
    wait_for,
)
from journal.engine.children import start_child, submit_child
from journal.engine.codec import decode, encode
from journal.engine.declare import Branch, Checkpoint, Workflow, checkpoint, workflow
from journal.engine.engine import Engine
from journal.engine.errors import (
    BadAnswer,
    CodecError,
    EngineClosed,
    EngineError,
    InDoubt,
    Nondeterministic,
    NotRevisable,
    NotStarted,
    OutsideRun,
    PayloadTooLarge,
    RunCancelled,
    RunFailed,
    RunPaused,
    RunQuarantined,
    RunStopped,
    SettleFailed,
    StepFailed,
    Undecodable,
    Unencodable,
    UnknownRun,
    UnlabelledBranch,
    WaitExpired,
    WouldRepeat,
)
from journal.engine.history import RunState, RunView, StepState, StepView
from journal.engine.identity import RunInfo
from journal.engine.memory_store import MemoryStore, SimulatedCrash
from journal.engine.ports import Clock, ClockSources, Entry, Kind, OpenRun, Record, StepObserver, Store
from journal.engine.queues import Queue
from journal.engine.schedules import Schedule
from journal.engine.steps import Backoff, Effect
from journal.engine.upgrade import Incompatible

__all__ = (
    "Backoff",
    "BadAnswer",
    "Branch",
    "Checkpoint",
    "Clock",
    "ClockSources",
    "CodecError",
    "Effect",
    "Engine",
    "EngineClosed",
    "EngineError",
    "Entry",
    "InDoubt",
    "Incompatible",
    "Kind",
    "MemoryStore",
    "Nondeterministic",
    "NotRevisable",
    "NotStarted",
    "OpenRun",
    "OutsideRun",
    "PayloadTooLarge",
    "Queue",
    "Record",
    "RunCancelled",
    "RunFailed",
    "RunInfo",
    "RunPaused",
    "RunQuarantined",
    "RunState",
    "RunStopped",
    "RunView",
    "Schedule",
    "SettleFailed",
    "Settled",
    "SimulatedCrash",
    "StepFailed",
    "StepObserver",
    "StepState",
    "StepView",
    "Store",
    "Undecodable",
    "Unencodable",
    "UnknownRun",
    "UnlabelledBranch",
    "WaitExpired",
    "Workflow",
    "WouldRepeat",
    "checkpoint",
    "current_run",
    "decode",
    "emit",
    "emit_entry",
    "encode",
    "idempotency_key",
    "now",
    "patched",
    "random",
    "services",
    "settle",
    "sleep",
    "start_child",
    "submit_child",
    "timeout",
    "uuid",
    "wait_first",
    "wait_for",
    "workflow",
)
