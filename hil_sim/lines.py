"""The control channel: one JSON object per line, commands in on standard input, events out on standard output.

Threads move the bytes, because standard streams may be pipes, terminals or files: a reader that is not read from
can never stop the simulated plant.  Called by `hil_sim.control`, `hil_sim.replay` and `hil_sim.__main__`.
"""

import asyncio
import json
import os
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any

__all__ = ("Lines",)

MAX_LINE_BYTES = 65_536  # a command is below a hundred
MAX_COMMANDS_WAITING = 100  # then the reading thread waits
MAX_EVENTS_WAITING = 10_000  # an hour of a demo that nobody listens to; then events are dropped and counted
CLOSE_TIMEOUT_S = 2.0
READ_BYTES = 65_536


class Lines:
    """Standard input and output as queues of JSON objects."""

    def __init__(self, *, input_fd: int = 0, output_fd: int = 1) -> None:
        """Use these file descriptors; they stay open."""
        self._input_fd = input_fd
        self._output_fd = output_fd
        self._events: queue.Queue[bytes | None] = queue.Queue(MAX_EVENTS_WAITING)
        self._writer = threading.Thread(target=self._write, name="lines-out", daemon=True)
        self.dropped_count = 0

    def open(self) -> None:
        """Begin to write."""
        self._writer.start()

    def emit(self, event: str, **fields: Any) -> None:
        """Say something; numbers must be finite."""
        line = json.dumps({"event": event, **fields}, allow_nan=False) + "\n"
        try:
            self._events.put_nowait(line.encode())
        except queue.Full:
            self.dropped_count += 1

    async def commands(self) -> AsyncIterator[Mapping[str, Any]]:
        """Every JSON object that comes in, until the input ends; what is no object is answered with an error."""
        loop = asyncio.get_running_loop()
        incoming: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_COMMANDS_WAITING)
        threading.Thread(target=self._read, args=(loop, incoming), name="lines-in", daemon=True).start()
        while (line := await incoming.get()) is not None:
            try:
                command = json.loads(line)
            except (ValueError, RecursionError):
                command = None
            if isinstance(command, dict):
                yield command
            elif line.strip():
                self.emit("error", message='a command is one JSON object per line, such as {"cmd":"status"}')

    async def close(self) -> None:
        """Write what waits, for a short time at most."""
        with suppress(queue.Full):
            self._events.put_nowait(None)
        await asyncio.to_thread(self._writer.join, CLOSE_TIMEOUT_S)

    def _read(self, loop: asyncio.AbstractEventLoop, incoming: "asyncio.Queue[bytes | None]") -> None:
        # RuntimeError: the loop has ended in the meantime, and with it the wish to know.
        with suppress(RuntimeError):
            for line in self._input_lines():
                asyncio.run_coroutine_threadsafe(incoming.put(line), loop).result()
            asyncio.run_coroutine_threadsafe(incoming.put(None), loop).result()

    def _input_lines(self) -> Iterator[bytes]:
        pending = b""
        while chunk := _read_some(self._input_fd):
            *lines, pending = (pending + chunk).split(b"\n")
            yield from (line[:MAX_LINE_BYTES] for line in lines)
            pending = pending[:MAX_LINE_BYTES]

    def _write(self) -> None:
        while (line := self._events.get()) is not None:
            try:
                while line:
                    line = line[os.write(self._output_fd, line) :]
            except OSError:
                return  # nobody listens any more; the input's end stops the simulator


def _read_some(fd: int) -> bytes:
    try:
        return os.read(fd, READ_BYTES)
    except OSError:
        return b""
