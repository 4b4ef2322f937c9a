"""Supervision: what is tried again, what stops the process, and how long it waits in between."""

import asyncio
import logging
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from drivers.errors import Fatal, Misconfigured, Refused, Transient
from gateway.supervisor import (
    CRASH_WINDOW_S,
    CRASHES_MAX,
    Backoff,
    Child,
    ChildState,
    heed_cancellation,
    supervise,
)

FOREVER = None


@pytest.fixture
def play(in_jumping_time: Any, loop_clock: Any) -> Callable[..., tuple[Child, list[float]]]:
    """Supervise a child that does one thing of the script at each start: raise, live for seconds, or both."""

    def run(*script: Any, for_s: float = 100_000.0) -> tuple[Child, list[float]]:
        starts_s: list[float] = []
        steps = list(script)

        async def body() -> None:
            starts_s.append(asyncio.get_running_loop().time())
            step = steps.pop(0)
            lives_s, error = step if isinstance(step, tuple) else (step, None)
            if isinstance(step, Exception):
                raise step
            await asyncio.sleep(10 * for_s if lives_s is None else lives_s)
            if error:
                raise error

        async def main() -> None:
            task = asyncio.create_task(supervise(child, loop_clock))
            await asyncio.wait({task}, timeout=for_s)
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.result()

        child = Child("child", body, backoff=Backoff(first_s=0.5, most_s=30.0, rng=random.Random(1)))
        in_jumping_time(main())
        return child, starts_s

    return run


def test_a_child_that_ends_is_left_alone(play: Any) -> None:
    child, starts_s = play(0.0)
    assert (child.state, len(starts_s), child.failures) == (ChildState.STOPPED, 1, 0)


def test_a_cancelled_child_is_stopped(play: Any) -> None:
    child, _ = play(FOREVER)
    assert child.state is ChildState.STOPPED


@pytest.mark.parametrize("error", [Transient("away"), Refused("no")])
def test_an_absent_peer_is_tried_for_ever_with_growing_waits(play: Any, error: Exception) -> None:
    child, starts_s = play(*[error] * 40, FOREVER)
    waits_s = [after - before for before, after in pairwise(starts_s)]
    assert child.failures == 40
    assert 0.25 <= waits_s[0] <= 0.5
    assert all(15 <= wait_s <= 30 for wait_s in waits_s[8:])
    assert child.last_error == str(error)


def test_an_absent_peer_is_logged_once(play: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        play(*[Transient("away")] * 40, FOREVER)
    assert [record.message for record in caplog.records] == ["child: away"]


def test_a_child_that_lived_starts_from_the_shortest_wait(play: Any) -> None:
    away = Transient("away")
    _, starts_s = play(*[away] * 10, (60.0, away), away, FOREVER)
    assert 60.25 <= starts_s[11] - starts_s[10] <= 60.5
    assert 0.5 <= starts_s[12] - starts_s[11] <= 1.0


def test_a_bug_is_outlived_a_few_times_and_then_stops_the_process(play: Any) -> None:
    with pytest.raises(Fatal, match=f"child crashed {CRASHES_MAX} times within 300 s: ZeroDivisionError: by zero"):
        play(*[ZeroDivisionError("by zero")] * 50)


def test_bugs_far_apart_are_outlived_for_ever(play: Any) -> None:
    class _LateBug(Exception):
        pass

    child, _ = play(*[_LateBug("x")] * (CRASHES_MAX - 1), FOREVER)
    assert child.state is ChildState.STOPPED
    assert child.failures == CRASHES_MAX - 1


def test_the_budget_is_counted_within_its_window(in_jumping_time: Any, loop_clock: Any) -> None:
    starts = 0

    async def body() -> None:
        nonlocal starts
        starts += 1
        await asyncio.sleep(CRASH_WINDOW_S / (CRASHES_MAX - 2))
        raise KeyError(starts)

    async def main() -> None:
        task = asyncio.create_task(supervise(Child("child", body), loop_clock))
        await asyncio.wait({task}, timeout=20 * CRASH_WINDOW_S)
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})

    in_jumping_time(main())
    assert starts > 3 * CRASHES_MAX


@pytest.mark.parametrize("error", [Fatal("disk"), Misconfigured("key")])
def test_what_nobody_can_outlive_leaves_at_once(play: Any, error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        play(error)


@pytest.mark.parametrize("error", [Misconfigured("key"), Fatal("disk")])
def test_also_from_within_a_task_group(play: Any, error: Exception) -> None:
    with pytest.raises(type(error)):
        play(ExceptionGroup("outer", [ExceptionGroup("inner", [error])]))


def test_a_lost_link_within_a_task_group_is_no_crash(play: Any) -> None:
    child, starts_s = play(*[ExceptionGroup("group", [Transient("lost")])] * 20, FOREVER)
    assert (child.failures, len(starts_s)) == (20, 21)


def test_a_group_that_failed_does_not_look_like_a_cancellation_in_the_next_life(
    in_jumping_time: Any, loop_clock: Any
) -> None:
    """Before Python 3.13 a group whose child failed leaves its own cancellation counted in the task that waited."""
    lives = 0

    async def fail() -> None:
        await asyncio.sleep(1)
        raise Transient("lost")

    async def body() -> None:
        nonlocal lives
        heed_cancellation()
        lives += 1
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    async def main() -> None:
        task = asyncio.create_task(supervise(Child("child", body), loop_clock))
        await asyncio.wait({task}, timeout=600)
        assert not task.done()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    in_jumping_time(main())
    assert lives > 10


def test_a_child_that_answers_a_cancellation_with_a_failure_is_not_started_again(
    in_jumping_time: Any, loop_clock: Any
) -> None:
    lives = 0

    async def body() -> None:
        nonlocal lives
        lives += 1
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            raise Transient("lost while stopping") from None

    async def main() -> None:
        child = Child("child", body)
        task = asyncio.create_task(supervise(child, loop_clock))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()
        assert child.state is ChildState.STOPPED

    in_jumping_time(main())
    assert lives == 1
