"""The daemon's local door: it answers what is known, refuses the rest, and one client cannot block another."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import BadInput, Transient
from gateway import control
from gateway.control import LINE_BYTES_MAX, SOCKET_NAME, ask, serve


async def echo(question: Mapping[str, Any]) -> Any:
    return dict(question)


async def refuse(_: Mapping[str, Any]) -> Any:
    raise BadInput("no such run")


async def hang(_: Mapping[str, Any]) -> Any:
    await asyncio.Event().wait()


async def listening(path: Path) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(path)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Path]:
    task = asyncio.create_task(serve(tmp_path, {"echo": echo, "refuse": refuse, "hang": hang}))
    path = tmp_path / SOCKET_NAME
    await listening(path)
    yield path
    task.cancel()
    await asyncio.wait({task})
    assert not path.exists()


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def say(door: Path, line: bytes) -> bytes:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_unix_connection(door)
        writer.write(line)
        answer = await reader.readline()
        writer.close()
        return answer


async def asked(door: Path, cmd: str, **arguments: object) -> Any:
    return await asyncio.to_thread(lambda: ask(door.parent, cmd, **arguments))


async def test_question_and_answer(door: Path) -> None:
    assert await asked(door, "echo", limit=5) == {"cmd": "echo", "limit": 5}


async def test_a_refusal_keeps_its_words(door: Path) -> None:
    with pytest.raises(BadInput, match="no such run"):
        await asked(door, "refuse")


async def test_an_unknown_question_hears_which_are_known(door: Path) -> None:
    with pytest.raises(BadInput, match="unknown question; known are: echo, hang, refuse"):
        await asked(door, "drop")


@pytest.mark.parametrize(
    "line", [b"\n", b"5\n", b"{}\n", b"\xff\xfe\n", b'{"cmd": ["echo"]}\n', b'{"cmd": null}\n', b"[" * 5_000 + b"\n"]
)
async def test_what_is_no_question_is_refused(door: Path, line: bytes) -> None:
    assert b"unknown question" in await say(door, line)


async def test_a_line_without_end_is_cut_off_and_the_next_client_served(door: Path) -> None:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_unix_connection(door)
        writer.write(b"x" * (2 * LINE_BYTES_MAX))
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
    assert await asked(door, "echo") == {"cmd": "echo"}


async def test_clients_that_hang_block_nobody(door: Path) -> None:
    silent = [await asyncio.open_unix_connection(door) for _ in range(20)]
    waiting = [await asyncio.open_unix_connection(door) for _ in range(5)]
    for _, writer in waiting:
        writer.write(b'{"cmd": "hang"}\n')
    assert await asked(door, "echo") == {"cmd": "echo"}
    for _, writer in silent + waiting:
        writer.close()


async def test_a_question_that_takes_too_long_is_given_up(door: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "QUESTION_TIMEOUT_S", 0.05)
    assert await say(door, b'{"cmd": "hang"}\n') == b""
    assert json.loads(await say(door, b'{"cmd": "echo"}\n'))["ok"] == {"cmd": "echo"}


async def test_only_the_daemons_user_can_open_it(door: Path) -> None:
    assert mode_of(door) == 0o600


async def test_a_socket_left_by_a_dead_daemon_is_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / SOCKET_NAME))
    with pytest.raises(Transient, match="no daemon answers"):
        await asked(tmp_path / SOCKET_NAME, "echo")
    task = asyncio.create_task(serve(tmp_path, {"echo": echo}))
    await listening(tmp_path / SOCKET_NAME)
    assert await asked(tmp_path / SOCKET_NAME, "echo") == {"cmd": "echo"}
    task.cancel()
    await asyncio.wait({task})


def test_where_no_daemon_is(tmp_path: Path) -> None:
    with pytest.raises(Transient, match="is `blackstart run` running"):
        ask(tmp_path, "status")
