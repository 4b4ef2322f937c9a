"""A poller ends when it is told to, even where the library beneath its source loses the cancellation."""

import asyncio
from collections.abc import Sequence

from drivers.base import Point, Sample
from drivers.clock import SystemClock
from gateway.poller import Poller
from gateway.watchdog import Heartbeats


class AnsweringSource:
    """Its answer comes in the same turn of the loop as the cancellation, which `wait_for` of Python 3.11 then loses."""

    name = "answering"
    points: tuple[Point, ...] = ()

    def __init__(self) -> None:
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked = asyncio.Event()
        self.reads = 0

    async def open(self) -> None: ...

    async def read(self) -> Sequence[Sample]:
        self.reads += 1
        assert self.reads < 5, "ends a poller that nothing else ends"
        self.asked.set()
        await asyncio.wait_for(self.answer, 10.0)
        return []

    async def close(self) -> None: ...


async def test_a_cancellation_that_comes_with_an_answer_is_not_lost() -> None:
    clock = SystemClock()
    source = AnsweringSource()
    running = asyncio.create_task(Poller(source, 0.01, lambda _: None, clock, Heartbeats(clock)).run())
    await source.asked.wait()
    running.cancel()  # reaches the reading task in the next turn of the loop, and so does the answer
    asyncio.get_running_loop().call_soon(source.answer.set_result, None)
    done, _ = await asyncio.wait({running}, timeout=2.0)
    assert done == {running}
    assert source.reads == 1
