"""The reasoning core's process and our end of its socket: started, asked, killed.  Used by `models.core` alone.

The process inherits one end of a socket pair and next to nothing of the environment.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from drivers.errors import Transient
from models.core_protocol import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    BadFrame,
    HelloReply,
    Reply,
    Request,
    decode_reply,
    encode,
    fits,
    frame_size,
)

__all__ = ("CoreUnavailable", "Worker")

KEPT_ENVIRONMENT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")  # credentials stay with the daemon


class CoreUnavailable(Transient):
    """The core is off, missing, busy, killed or late; the deterministic answer stands."""


class Worker:
    """One child process and our end of its socket."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self.hello: HelloReply | None = None

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """True once its end of the socket is closed."""
        return self._reader.at_eof()

    @classmethod
    async def spawn(cls, command: Sequence[str]) -> "Worker":
        """Start the program with the other end of a socket pair; CoreUnavailable if it cannot be started."""
        ours, theirs = socket.socketpair()
        with ExitStack() as undo, theirs:
            reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_FRAME_BYTES + HEADER_BYTES)
            undo.callback(writer.close)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    *("--fd", str(theirs.fileno()), "--parent", str(os.getpid())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=_environment(),
                )
            except OSError as err:
                raise CoreUnavailable(f"{command[0]} cannot be started: {err.strerror}") from err
            undo.pop_all()
        return cls(process, reader, writer)

    async def ask(self, request: Request) -> Reply:
        """Send one request and read its reply; CoreUnavailable if what comes back is not that."""
        try:
            self._writer.write(encode(request))
            await self._writer.drain()
            size = frame_size(await self._reader.readexactly(HEADER_BYTES))
            reply = decode_reply(await self._reader.readexactly(size))
        except BadFrame as err:
            raise CoreUnavailable(f"the core's process sent nonsense: {err}") from err
        except (OSError, asyncio.IncompleteReadError) as err:
            raise CoreUnavailable("the core's process ended") from err
        if not fits(request, reply):
            raise CoreUnavailable("the core's process answered something else than was asked")
        return reply

    async def kill(self) -> None:
        """End it without asking, and collect it."""
        self._writer.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        with suppress(OSError):
            await self._writer.wait_closed()


def _environment() -> dict[str, str]:
    """What the worker may know: our import path, few threads, and nothing secret."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        "OMP_WAIT_POLICY": "passive",
        "OPENBLAS_NUM_THREADS": "1",
    }
