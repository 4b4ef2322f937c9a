"""The daemon's local door: named questions over a Unix socket, one JSON object a line, rows and time limited.

The command line uses it because a second process cannot open the journal while the daemon runs.  Only the
daemon's own user can open the socket.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from drivers.errors import BadInput, BlackstartError, Transient

__all__ = ("SOCKET_NAME", "Handlers", "ask", "serve")

log = logging.getLogger(__name__)

SOCKET_NAME = "control.sock"
LINE_BYTES_MAX = 1 << 20  # one answer, rows limited by the handlers
QUESTION_TIMEOUT_S = 30.0
SLOW = ("journal_verify", "journal_snapshot", "journal_export")
SLOW_TIMEOUT_S = 3_600.0  # to read a journal of gigabytes from a card

Handlers = Mapping[str, Callable[[Mapping[str, Any]], Awaitable[Any]]]


async def serve(state_dir: Path, handlers: Handlers) -> None:
    """Answer questions until cancelled."""
    path = state_dir / SOCKET_NAME
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)  # here, so that a cancellation in between leaves none open
    try:
        await asyncio.to_thread(_bind, door, path)
        server = await asyncio.start_unix_server(
            lambda r, w: _converse(r, w, handlers), sock=door, limit=LINE_BYTES_MAX
        )
        async with server:
            await server.serve_forever()
    finally:
        door.close()
        await asyncio.to_thread(path.unlink, missing_ok=True)


def _bind(door: socket.socket, path: Path) -> None:
    """At its path, for its owner alone; it is there only once it listens, so that nobody is refused meanwhile."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    door.bind(str(draft))
    draft.chmod(0o600)
    door.listen()
    draft.rename(path)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: Handlers) -> None:
    try:
        async with asyncio.timeout(QUESTION_TIMEOUT_S) as patience:
            line = await reader.readline()
            answer = await _answer(line, handlers, patience)
            writer.write(json.dumps(answer, default=str).encode() + b"\n")
            await writer.drain()
    except (OSError, ValueError, TimeoutError) as err:
        log.info("control: %s", err or "a question took too long")
    finally:
        writer.close()


async def _answer(line: bytes, handlers: Handlers, patience: asyncio.Timeout) -> dict[str, Any]:
    try:
        question = json.loads(line)
        handler = handlers[question["cmd"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {"error": f"unknown question; known are: {', '.join(sorted(handlers))}"}
    if question["cmd"] in SLOW:
        patience.reschedule(asyncio.get_running_loop().time() + SLOW_TIMEOUT_S)
    try:
        return {"ok": await handler(question)}
    except BlackstartError as err:
        return {"error": str(err)}


def ask(state_dir: Path, cmd: str, **arguments: object) -> Any:
    """Ask the daemon that owns this state directory; blocks.

    Raises Transient where no daemon listens, BadInput with the daemon's own words where it refuses.
    """
    path = state_dir / SOCKET_NAME
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SLOW_TIMEOUT_S if cmd in SLOW else QUESTION_TIMEOUT_S)
            connection.connect(str(path))
            connection.sendall(json.dumps({"cmd": cmd, **arguments}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer = json.loads(answers.readline())
    except (OSError, ValueError) as err:
        raise Transient(f"no daemon answers at {path}: is `blackstart run` running with this configuration?") from err
    if "error" in answer:
        raise BadInput(answer["error"])
    return answer["ok"]
