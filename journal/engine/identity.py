"""Who is asking: the place of each task in its run, from which every step key is made.

    step key = parent path / branch label / name # n within that parent, for example `t2/weigh/fetch#1`

A task factory, installed on the loop by `Engine`, gives each task that a workflow body creates a `Scope` of its
own: label `t<n>` in the order of creation, or the label that `.submit(label=)` names.  It does nothing for tasks
created outside bodies and inside steps.  A context variable says where code runs; that alone would let two tasks
share a scope (and swap results after a crash), so a scope also knows its task, and any other task is refused.
"""

import asyncio
import contextvars
import inspect
import sys
import zlib
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol, TypeVar

from journal.engine.errors import OutsideRun, UnlabelledBranch
from journal.engine.ports import Clock, Entry

__all__ = ("BranchFactory", "RunInfo", "Scope", "StepFrame", "Tracked", "here", "scope_of", "spawn")

T = TypeVar("T")

_MAKERS = ("as_completed", "_AsCompletedIterator", "wait_for")  # as_completed is a class since Python 3.13
FRAMES_TO_SEARCH = 8  # as_completed is at most five frames above the factory on Python 3.11 to 3.13


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Which run this is."""

    run_id: str
    workflow: str
    key: str


@dataclass(slots=True, eq=False)
class StepFrame:
    """Where a step's body runs: what it may ask, and what it adds to the commit of its outcome."""

    info: RunInfo
    step_key: str
    services: object
    clock: Clock
    emitted: list[Entry] = field(default_factory=list)


class Host(Protocol):
    """The run, as a scope sees it."""

    info: RunInfo
    owner: object  # what the api finds from a scope: the Run
    activity: int  # raised each time a task of the run moves
    branched: bool  # more than one task has existed
    scopes: set["Scope"]  # of tasks that have not ended


class Scope:
    """The place of one task in its run, with counters of its own."""

    __slots__ = ("_labels", "_names", "coro", "host", "path", "task", "trouble", "waiting")

    def __init__(self, host: Host, path: str, trouble: str = "") -> None:
        self.host = host
        self.path = path
        self.trouble = trouble  # why this place is not certain
        self.coro: object = None  # the task's outermost coroutine
        self.task: asyncio.Task[Any] | None = None
        self.waiting: asyncio.Future[Any] | None = None  # what the task is suspended on
        self._names: dict[str, int] = {}
        self._labels: dict[str, int] = {"": 0}  # how often each was used; "": children without one

    def next_key(self, name: str) -> str:
        """The key of the next operation of this name."""
        self._names[name] = number = self._names.get(name, 0) + 1
        return f"{self._within(name)}#{number}"

    def child(self, label: str | None = None) -> "Scope":
        """The scope of a task made by this one: `t<n>`, or the label, numbered from its second use."""
        if label is None:
            self._labels[""] += 1
            label = f"t{self._labels['']}"
        else:
            self._labels[label] = number = self._labels.get(label, 0) + 1
            label = label if number == 1 else f"{label}~{number}"
        return Scope(self.host, self._within(label))

    def stand_in(self) -> "Scope":
        """A scope for a task that does this one's work while it waits: same place, same counters."""
        scope = Scope(self.host, self.path)
        scope._names, scope._labels = self._names, self._labels
        return scope

    def holds_alone(self, coro: object) -> bool:
        """True when the coroutine is all that the task runs, by itself or within `asyncio.wait_for`."""
        code = getattr(self.coro, "cr_code", None)
        return self.coro is coro or (code is asyncio.wait_for.__code__ and not self._names and not self._labels[""])

    def blocked(self) -> bool:
        """True when the task is suspended on something that has not happened."""
        return self.waiting is not None and not self.waiting.done()

    def _within(self, last: str) -> str:
        return f"{self.path}/{last}" if self.path else last


_here: contextvars.ContextVar[Scope | StepFrame | None] = contextvars.ContextVar("journal.engine.here", default=None)


def here() -> Scope | StepFrame | None:
    """Where this code runs: in a workflow body, in a step, or neither."""
    return _here.get()


def scope_of(what: str) -> Scope:
    """The scope of the running workflow task.

    Raises OutsideRun where there is none, UnlabelledBranch where the task is not the scope's own.
    """
    scope = _here.get()
    if isinstance(scope, StepFrame):
        raise OutsideRun(f"{what} was called inside step {scope.step_key!r}: steps are leaves; call it from the body")
    if scope is None:
        raise OutsideRun(f"{what} was called outside a workflow body: start the workflow with Engine.start")
    if scope.trouble:
        raise UnlabelledBranch(f"{what}: {scope.trouble}")
    if scope.task is not asyncio.current_task():
        raise UnlabelledBranch(
            f"{what} was called under the scope {scope.path or 'of the body'!r} by another task: create tasks with "
            "asyncio.create_task, TaskGroup, gather or .submit(), not with asyncio.Task(...) or from callbacks"
        )
    return scope


class Tracked(Coroutine[Any, Any, T]):
    """A coroutine whose every move is seen by its run, so that the run knows when all of its tasks wait."""

    __slots__ = ("_coro", "scope")

    def __init__(self, coro: Coroutine[Any, Any, T], scope: Scope) -> None:
        self._coro = coro
        self.scope = scope
        scope.coro = coro
        scope.host.scopes.add(scope)
        scope.host.branched |= len(scope.host.scopes) > 1

    def send(self, value: Any) -> Any:
        """As of a coroutine."""
        return self._move(self._coro.send, value)

    def throw(self, *error: Any) -> Any:
        """As of a coroutine."""
        return self._move(self._coro.throw, *error)

    def close(self) -> None:
        """As of a coroutine."""
        self.scope.host.scopes.discard(self.scope)
        self._coro.close()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coro.__await__()

    def __getattr__(self, name: str) -> Any:  # cr_frame and its like, for stack dumps
        return getattr(self._coro, name)

    def _move(self, method: Callable[..., Any], *args: Any) -> Any:
        scope = self.scope
        scope.host.activity += 1
        scope.task = asyncio.current_task()
        scope.waiting = None
        ended = True
        try:
            scope.waiting = method(*args)
            ended = False
        finally:
            if ended:
                scope.host.scopes.discard(scope)
        return scope.waiting


class _BranchTask(asyncio.Task[T]):
    """A task of a run.  Its hash comes from its place, so that sets of tasks have the same order in replay."""

    def __init__(self, coro: Tracked[T], **kwargs: Any) -> None:
        self._place = zlib.crc32(coro.scope.path.encode())
        super().__init__(coro, **kwargs)

    def __hash__(self) -> int:
        return self._place

    def __eq__(self, other: object) -> bool:
        return self is other


class BranchFactory:
    """The task factory: chains to the one that was set before, and is inert outside workflow bodies."""

    def __init__(self, previous: Callable[..., Any] | None) -> None:
        self._previous = previous
        self.users = 0

    @classmethod
    def install(cls, loop: asyncio.AbstractEventLoop) -> "BranchFactory":
        """Set the factory on the loop; engines that share a loop share it."""
        current = loop.get_task_factory()
        factory = current if isinstance(current, cls) else cls(current)
        if factory is not current:
            loop.set_task_factory(factory)
        factory.users += 1
        return factory

    def remove(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give the loop its former factory back, unless another was set on top: then this one stays, inert."""
        self.users -= 1
        if self.users == 0 and loop.get_task_factory() is self:
            loop.set_task_factory(self._previous)

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> Any:
        """Make the task, as asyncio asks; a body's task gets its scope."""
        creator = _here.get()
        if isinstance(coro, Tracked):
            scope = coro.scope
        elif isinstance(creator, Scope) and asyncio.iscoroutine(coro):
            scope = _branch(creator)
            coro = Tracked(coro, scope)
        else:
            return self._make(asyncio.Task, loop, coro, kwargs)
        context = kwargs.pop("context", None)
        context = contextvars.copy_context() if context is None else context.copy()
        context.run(_here.set, scope)
        return self._make(_BranchTask, loop, coro, kwargs | {"context": context})

    def _make(
        self, kind: Callable[..., Any], loop: asyncio.AbstractEventLoop, coro: Any, kwargs: dict[str, Any]
    ) -> Any:
        return self._previous(loop, coro, **kwargs) if self._previous else kind(coro, loop=loop, **kwargs)


def _branch(creator: Scope) -> Scope:
    maker = _asyncio_function() if creator.task is asyncio.current_task() else ""
    if maker == "wait_for" and not creator.trouble:
        return creator.stand_in()  # until Python 3.11 it makes a task, since 3.12 it awaits in place: one key for both
    scope = creator.child()
    if creator.task is not asyncio.current_task():
        scope.trouble = "its task was created from a callback or by an unlabelled task: create it in the body itself"
    elif maker:
        scope.trouble = (
            "asyncio.as_completed starts bare coroutines in no fixed order: hand it tasks "
            "(asyncio.create_task) or branches (.submit(...).task)"
        )
    else:
        scope.trouble = creator.trouble
    return scope


def _asyncio_function() -> str:
    """Which of the functions that make tasks in their own way is making this one; empty for none of them."""
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001 - its caller's caller's caller made the task
    for _ in range(FRAMES_TO_SEARCH):
        if frame is None:
            return ""
        code = frame.f_code
        if code.co_filename == asyncio.tasks.__file__ and code.co_qualname.startswith(_MAKERS):
            return code.co_name if code.co_name == "wait_for" else "as_completed"
        if code.co_flags & inspect.CO_COROUTINE:
            return ""  # the body's own code made it
        frame = frame.f_back
    return ""


def spawn(coro: Coroutine[Any, Any, T], place: Scope | StepFrame | None, name: str) -> "asyncio.Task[T]":
    """A task that runs at `place`, whoever creates it; None is outside of any run."""
    outside = contextvars.copy_context()
    outside.run(_here.set, None)
    inside = outside.copy()
    inside.run(_here.set, place)
    if isinstance(place, Scope):
        coro = Tracked(coro, place)
    return outside.run(lambda: asyncio.get_running_loop().create_task(coro, name=name, context=inside))
