"""Durable execution for asyncio: workflows whose every step is kept, so that a crash resumes at the last one.

    ports      Store and Clock, the rows (`Kind` says what each carries), the observer
    errors     everything the engine raises
    codec      values <-> bytes, arguments -> hash
    identity   task factory and scopes: the place of each task, from which step keys are made
    history    a run's rows, folded
    replay     the gate: outcomes reach a body one at a time in recorded order
    timers     one heap of deadlines
    waits      durable waits of a run
    run        one run in memory: commit, release, ending
    steps      one step: attempts, deadline, effect class
    declare    @workflow, @checkpoint, branches
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
    random,
    services,
    settle,
    sleep,
    timeout,
    uuid,
    wait_first,
    wait_for,
)
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
    NotStarted,
    OutsideRun,
    PayloadTooLarge,
    RunFailed,
    RunPaused,
    RunStopped,
    SettleFailed,
    StepFailed,
    Undecodable,
    Unencodable,
    UnknownRun,
    UnlabelledBranch,
    WaitExpired,
)
from journal.engine.history import RunState, RunView, StepState, StepView
from journal.engine.identity import RunInfo
from journal.engine.memory_store import MemoryStore, SimulatedCrash
from journal.engine.ports import Clock, Entry, Kind, OpenRun, Record, StepObserver, Store
from journal.engine.steps import Effect

__all__ = (
    "BadAnswer",
    "Branch",
    "Checkpoint",
    "Clock",
    "CodecError",
    "Effect",
    "Engine",
    "EngineClosed",
    "EngineError",
    "Entry",
    "InDoubt",
    "Kind",
    "MemoryStore",
    "Nondeterministic",
    "NotStarted",
    "OpenRun",
    "OutsideRun",
    "PayloadTooLarge",
    "Record",
    "RunFailed",
    "RunInfo",
    "RunPaused",
    "RunState",
    "RunStopped",
    "RunView",
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
    "checkpoint",
    "current_run",
    "decode",
    "emit",
    "emit_entry",
    "encode",
    "idempotency_key",
    "now",
    "random",
    "services",
    "settle",
    "sleep",
    "timeout",
    "uuid",
    "wait_first",
    "wait_for",
    "workflow",
)
