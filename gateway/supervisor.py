"""One-for-one supervision: each child runs in a task of its own and is started again after a failure.

States: new → starting → running → backoff → … → stopped | failed.  A Transient error waits with full jitter; an
unexpected error counts against a budget, and a child over its budget stops the process so that the service
manager starts it afresh and the journal resumes.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from drivers.base import Clock
from drivers.errors import Fatal, Misconfigured, Refused, Transient

__all__ = ("Backoff", "Child", "ChildState", "first_leaf", "heed_cancellation", "supervise")

log = logging.getLogger(__name__)

CRASHES_MAX = 5  # unexpected errors of one child …
CRASH_WINDOW_S = 300.0  # … within this time before the process gives up


class ChildState(StrEnum):
    """Where a child is in its life."""

    NEW = "new"
    RUNNING = "running"
    BACKOFF = "backoff"  # failed, waits for its next start
    STOPPED = "stopped"  # ended on request
    FAILED = "failed"  # over its budget


@dataclass(slots=True)
class Backoff:
    """Exponential waiting time with full jitter, `first_s` to `most_s`."""

    first_s: float = 0.5
    most_s: float = 30.0
    rng: random.Random = field(default_factory=random.SystemRandom)
    _tries: int = 0

    def next_s(self) -> float:
        """Seconds to wait now; grows with each call until `reset`."""
        ceiling = min(self.most_s, self.first_s * 2**self._tries)
        self._tries = min(self._tries + 1, 16)
        return self.rng.uniform(ceiling / 2, ceiling)

    def reset(self) -> None:
        """The child has lived long enough: start from the shortest wait."""
        self._tries = 0


@dataclass(slots=True)
class Child:
    """A supervised loop and what is known of it."""

    name: str
    run: Callable[[], Awaitable[None]]
    backoff: Backoff = field(default_factory=Backoff)
    state: ChildState = ChildState.NEW
    failures: int = 0
    last_error: str = ""
    _crashes_ns: deque[int] = field(default_factory=lambda: deque(maxlen=CRASHES_MAX))


async def supervise(child: Child, clock: Clock, *, stable_s: float = 10.0) -> None:
    """Run a child until it is cancelled or over its budget.

    Raises Fatal when the child crashed more than CRASHES_MAX times within CRASH_WINDOW_S, Misconfigured as it is.
    """
    while True:
        child.state = ChildState.RUNNING
        started_ns = clock.monotonic_ns()
        try:
            await _run(child)
        except asyncio.CancelledError:
            child.state = ChildState.STOPPED
            raise
        except (Fatal, Misconfigured):
            child.state = ChildState.FAILED
            raise
        except (Transient, Refused) as err:
            _note(child, str(err), first=child.failures == 0)
        except Exception as err:  # the supervisor is the one place that outlives a bug of a child
            log.exception("%s crashed", child.name)
            _note(child, f"{type(err).__name__}: {err}", first=False)
            _count_crash(child, clock.monotonic_ns())
        else:
            child.state = ChildState.STOPPED
            return
        if clock.monotonic_ns() - started_ns > stable_s * 1e9:
            child.backoff.reset()
        child.state = ChildState.BACKOFF
        await asyncio.sleep(child.backoff.next_s())


async def _run(child: Child) -> None:
    """Run one life in a task of its own, so that what cancels parts of it is over with it.

    Of the errors of a task group the first counts, the others follow from it.
    """
    try:
        await asyncio.ensure_future(child.run())
    except BaseExceptionGroup as group:
        raise first_leaf(group) from group
    finally:
        heed_cancellation()  # also where the life answered it with an error of its own


def heed_cancellation() -> None:
    """Raise CancelledError where this task was cancelled and a library has lost that; loops around libraries call it.

    Before Python 3.12 `asyncio.wait_for`, by which pymodbus, asyncua and aiomqtt wait, returns a result that comes
    together with a cancellation and forgets the cancellation: the task would never end.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group, however deep."""
    first = group.exceptions[0]
    return first_leaf(first) if isinstance(first, BaseExceptionGroup) else first


def _note(child: Child, error: str, *, first: bool) -> None:
    if first or error != child.last_error:
        log.warning("%s: %s", child.name, error)
    child.failures += 1
    child.last_error = error


def _count_crash(child: Child, now_ns: int) -> None:
    child._crashes_ns.append(now_ns)  # noqa: SLF001 - this module owns the child's bookkeeping
    crashes = child._crashes_ns  # noqa: SLF001
    if len(crashes) == CRASHES_MAX and now_ns - crashes[0] < CRASH_WINDOW_S * 1e9:
        child.state = ChildState.FAILED
        raise Fatal(f"{child.name} crashed {CRASHES_MAX} times within {CRASH_WINDOW_S:.0f} s: {child.last_error}")
