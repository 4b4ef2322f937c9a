"""What the engine raises.  Only these, the store's own errors and what a workflow body raises leave the engine.

EngineError
├── NotStarted          raised by a step: its effect is known not to have begun, so the step simply failed
├── CodecError
│   ├── Unencodable     a value of a type that the journal does not keep
│   ├── Undecodable     bytes or fields that do not fit the asked type
│   └── PayloadTooLarge a value above the size cap; never retried
├── OutsideRun          called where there is no workflow body, or no step
├── UnlabelledBranch    a checkpoint in a task whose place in the run is not certain
├── StepFailed          a step's last attempt failed; type and message as they were recorded
├── SettleFailed        too few branches succeeded or too many failed
├── WaitExpired         a wait without a default reached its deadline
├── BadAnswer           an answer that does not fit the wait's type; nothing was recorded
├── UnknownRun          no such run
├── EngineClosed        the engine was closed before the run ended
├── NotRevisable        retry, fork or rewind of a run that goes on, or at a step that it does not have
├── WouldRepeat         a revision would run AT_MOST_ONCE steps again; `steps` lists them
└── RunStopped          a run that ended or was held without a value
    ├── RunFailed       its body raised
    ├── RunCancelled    somebody cancelled it
    ├── RunPaused       a step ran out of retries
    ├── RunQuarantined  the process died three times while its step was in flight
    ├── InDoubt         an AT_MOST_ONCE step may or may not have had its effect
    └── Nondeterministic  its code asks for something else than what was recorded
"""

__all__ = (
    "BadAnswer",
    "CodecError",
    "EngineClosed",
    "EngineError",
    "InDoubt",
    "Nondeterministic",
    "NotRevisable",
    "NotStarted",
    "OutsideRun",
    "PayloadTooLarge",
    "RunCancelled",
    "RunFailed",
    "RunPaused",
    "RunQuarantined",
    "RunStopped",
    "SettleFailed",
    "StepFailed",
    "Undecodable",
    "Unencodable",
    "UnknownRun",
    "UnlabelledBranch",
    "WaitExpired",
    "WouldRepeat",
)


class EngineError(Exception):
    """Root of every error of the engine."""


class NotStarted(EngineError):
    """Raise it in an AT_MOST_ONCE step when the effect is known not to have begun."""


class CodecError(EngineError):
    """A value and its stored form do not go together."""


class Unencodable(CodecError):
    """A value of a type that the journal does not keep."""


class Undecodable(CodecError):
    """Stored bytes that are damaged, or that do not fit the asked type."""


class PayloadTooLarge(CodecError):
    """A value above the size cap; never retried."""


class OutsideRun(EngineError):
    """Called where there is no workflow body, or no step."""


class UnlabelledBranch(EngineError):
    """A checkpoint in a task whose place in the run is not certain."""


class StepFailed(EngineError):
    """A step failed for good.  `exhausted`: it had retries and used them all."""

    def __init__(self, step: str, error_type: str, message: str, *, exhausted: bool = False) -> None:
        super().__init__(f"{step}: {error_type}: {message}")
        self.step = step
        self.error_type = error_type
        self.message = message
        self.exhausted = exhausted


class SettleFailed(EngineError):
    """Too few branches succeeded or too many failed; `errors` holds what the failed ones raised."""

    def __init__(self, message: str, errors: tuple[BaseException, ...]) -> None:
        super().__init__(message)
        self.errors = errors


class WaitExpired(EngineError):
    """A wait without a default reached its deadline."""


class BadAnswer(EngineError):
    """An answer that does not fit the wait's type; nothing was recorded."""


class UnknownRun(EngineError):
    """No run has this id."""


class EngineClosed(EngineError):
    """The engine was closed before the run ended; the run stays open in the journal."""


class NotRevisable(EngineError):
    """Retry, fork or rewind of a run that goes on, or at a step that it does not have."""


class WouldRepeat(EngineError):
    """A revision would run AT_MOST_ONCE steps again; nothing was changed."""

    def __init__(self, steps: tuple[str, ...]) -> None:
        super().__init__(f"AT_MOST_ONCE steps would run again: {', '.join(steps)}")
        self.steps = steps


class RunStopped(EngineError):
    """A run ended or is held without a value."""

    def __init__(self, run_id: str, error_type: str, message: str) -> None:
        super().__init__(f"run {run_id}: {error_type}: {message}")
        self.run_id = run_id
        self.error_type = error_type
        self.message = message


class RunFailed(RunStopped):
    """The workflow's body raised."""


class RunCancelled(RunStopped):
    """Somebody cancelled it."""


class RunPaused(RunStopped):
    """A step ran out of retries; the run waits for a person."""


class RunQuarantined(RunStopped):
    """The process died three times within one boot while the run's step was in flight."""


class InDoubt(RunStopped):
    """An AT_MOST_ONCE step may or may not have had its effect; the run waits for a person."""


class Nondeterministic(RunStopped):
    """The code asks for something else than what was recorded; the run is held as it is."""
