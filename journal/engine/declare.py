"""What workflow authors declare: `@workflow`, `@checkpoint`, and the branch that `.submit()` gives.

The decorators read the annotations, since stored values come back as the annotated types.
"""

import asyncio
import functools
import inspect
import typing
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from pydantic import TypeAdapter

from journal.engine.codec import adapter, arguments_hash, convert
from journal.engine.errors import CodecError, StepFailed, Undecodable, Unencodable, UnlabelledBranch
from journal.engine.history import Outcome
from journal.engine.identity import Scope, Tracked, here, scope_of
from journal.engine.ports import Kind
from journal.engine.run import Run
from journal.engine.source import code_hash
from journal.engine.steps import Backoff, Effect, StepSpec, begin_step, left_while_begun

__all__ = ("Branch", "Checkpoint", "Workflow", "check_label", "checkpoint", "run_of", "submit", "workflow")

LABEL_CHARS_MAX = 64  # a label is part of every key under it

P = ParamSpec("P")
R = TypeVar("R")


class Branch(Generic[R]):
    """A step under way beside others.  Await it, or hand it to `settle`, `wait_first`, or `.task` to asyncio."""

    def __init__(self, task: "asyncio.Task[R]", path: str) -> None:
        self.task = task
        self.path = path  # of its scope, the front of its step key
        task.add_done_callback(_retrieve)

    @property
    def label(self) -> str:
        """Its name within its parent."""
        return self.path.rpartition("/")[2]

    def __await__(self) -> Generator[Any, Any, R]:
        return self.task.__await__()

    def done(self) -> bool:
        """True once it has a value or an error."""
        return self.task.done()

    def cancel(self) -> bool:
        """Cancel it; a step that is cancelled records nothing, except AT_MOST_ONCE, which becomes in doubt."""
        return self.task.cancel()


class Checkpoint(Generic[P, R]):
    """A step: call and await it in a body, or `.submit()` it as a branch."""

    def __init__(self, fn: Callable[P, Coroutine[Any, Any, R]], spec: StepSpec) -> None:
        if "return" not in fn.__annotations__:
            raise TypeError(f"step {spec.name}: annotate what it returns; stored values are read back as that type")
        functools.update_wrapper(self, fn)
        self.body = fn  # the bare function, for tests
        self.spec = spec
        self.signature = inspect.signature(fn)

    @functools.cached_property
    def shape(self) -> TypeAdapter[R]:
        """What reads a stored value back."""
        return adapter(typing.get_type_hints(self.body, include_extras=True)["return"])

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """The step as a coroutine; it runs in the task that called it, or as the whole of a new task."""
        own: list[object] = []
        coro = self._run(here(), own, args, kwargs)
        own.append(coro)
        return coro

    def submit(self, *args: Any, label: str | None = None, **kwargs: Any) -> Branch[R]:
        """Start the step as a branch of its own, named `label` or `t<n>`."""
        own: list[object] = []
        coro = self._run(None, own, args, kwargs)
        own.append(coro)
        return submit(coro, f"{self.spec.name}.submit", label)

    async def _run(self, called: object, own: list[object], args: Any, kwargs: Any) -> R:
        name = self.spec.name
        scope = scope_of(f"step {name!r}")
        if called is not scope and not (own and scope.holds_alone(own[0])):
            own.clear()
            raise UnlabelledBranch(
                f"step {name!r} was called in {_place(called)} and is awaited in {_place(scope)}: call it in the task "
                "that awaits it, or start it as a branch with .submit() or asyncio.create_task"
            )
        own.clear()  # it held this very coroutine
        run = run_of(scope)
        try:
            arg_hash = arguments_hash(self.signature, args, kwargs)
        except Unencodable as err:
            raise Unencodable(f"an argument of step {name!r}: {err}") from err
        body = functools.partial(self.body, *args, **kwargs)
        outcome = await run.perform(
            scope,
            name,
            arg_hash,
            functools.partial(begin_step, run, self.spec, self.shape, body),
            on_abandon=functools.partial(left_while_begun, run),
            is_step=True,
        )
        return self._value(run, outcome)

    def _value(self, run: Run, outcome: Outcome) -> R:
        if outcome.kind is Kind.STEP_FAILED:
            error = outcome.plain["error"]
            raise StepFailed(self.spec.name, error["type"], error["message"], exhausted=outcome.plain["exhausted"])
        try:
            return typing.cast("R", convert(outcome.plain["value"], self.shape))
        except CodecError as err:
            run.mismatch(f"the recorded value of step {self.spec.name!r} does not fit its return type: {err}")
            raise asyncio.CancelledError from err


def checkpoint(
    *,
    effect: Effect = Effect.PURE,
    retries: int = 0,
    backoff: Backoff | None = None,
    timeout_s: float | None = None,
    name: str | None = None,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Checkpoint[P, R]]:
    """Make an async function a step: its outcome is kept, and a finished one is never run again.

    A failing body is tried `retries` times more, with the pauses of `backoff` (1 s, doubled up to 5 min), which
    survive a restart; `timeout_s` bounds each attempt.  What a step raises reaches the body as StepFailed; a run that
    it ends is paused if there were retries.
    """

    def decorate(fn: Callable[P, Coroutine[Any, Any, R]]) -> Checkpoint[P, R]:
        spec = StepSpec(
            name=name or fn.__name__,
            effect=effect,
            retries=retries,
            timeout_s=timeout_s,
            backoff=backoff or Backoff(),
        )
        return Checkpoint(fn, spec)

    return decorate


class Workflow(Generic[P, R]):
    """A durable function: started by `Engine.start`, resumed by `Engine.resume`."""

    def __init__(self, name: str, version: int, fn: Callable[P, Coroutine[Any, Any, R]], *, pinned: bool) -> None:
        self.pinned = pinned
        self.name = name
        self.version = version
        self.body = fn
        self.code = ""  # until `read_source`
        self.signature = inspect.signature(fn)
        if any(p.kind is inspect.Parameter.KEYWORD_ONLY for p in self.signature.parameters.values()):
            raise TypeError(f"workflow {name}: arguments are positional; {self.signature} has keyword-only ones")

    @functools.cached_property
    def result(self) -> TypeAdapter[R]:
        """What reads the stored result back."""
        return adapter(self._hints.get("return", Any))

    async def read_source(self) -> None:
        """Make `code` the hash of its source, once; beside the loop, since it reads files."""
        if not self.code:
            self.code = await asyncio.to_thread(code_hash, self.body) or "-"

    def read_arguments(self, plain: Sequence[object]) -> list[Any]:
        """Stored arguments as the annotated types.  Raises Undecodable where they do not fit."""
        parameters = list(self.signature.parameters.values())
        names = [parameter.name for parameter in parameters] or [""]
        read = [
            convert(value, adapter(self._hints.get(names[min(index, len(names) - 1)], Any)))
            for index, value in enumerate(plain)
        ]
        try:
            self.signature.bind(*read)
        except TypeError as err:
            raise Undecodable(f"{len(read)} stored arguments for {self.name}{self.signature}: {err}") from err
        return read

    @functools.cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.body, include_extras=True)


def workflow(
    name: str, *, version: int = 1, pinned: bool = False
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Workflow[P, R]]:
    """Make an async function a workflow.  Its body does nothing but steps, the engine's waits, and plain logic.

    Several versions of one name may be registered: an open run goes on with its own, else with the newest that its
    record fits.  A `pinned` one takes over no run of another version.
    """
    return lambda fn: Workflow(name, version, fn, pinned=pinned)


def submit(coro: Coroutine[Any, Any, R], what: str, label: str | None) -> Branch[R]:
    """Start `coro` as a branch of the running workflow task."""
    try:
        scope = scope_of(what)
        if label is not None:
            check_label(label)
    except BaseException:
        coro.close()
        raise
    child = scope.child(label)
    return Branch(asyncio.get_running_loop().create_task(Tracked(coro, child)), child.path)


def run_of(scope: Scope) -> Run:
    """The run that the scope belongs to."""
    run = scope.host.owner
    assert isinstance(run, Run)
    return run


def check_label(label: str) -> None:
    """Raise ValueError for a name that cannot be part of a key."""
    if not 0 < len(label) <= LABEL_CHARS_MAX or set(label) & set("/#~"):
        raise ValueError(f"label {label!r}: 1 to {LABEL_CHARS_MAX} characters without '/', '#', '~'")
    if label[0] == "t" and label[1:].isdecimal():
        raise ValueError(f"label {label!r}: t<n> names unlabelled branches")


def _retrieve(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()  # a branch that nobody awaits is no programming error


def _place(scope: object) -> str:
    return f"branch {scope.path!r}" if isinstance(scope, Scope) and scope.path else "the body's own task"
