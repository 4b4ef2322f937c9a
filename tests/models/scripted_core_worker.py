"""A real child process that speaks the frames of the reasoning core's worker, without a model, and misbehaves to order.

    python scripted_core_worker.py BEHAVIOUR [MARKER] --fd N …

It packs its frames by hand, so that the protocol is checked against bytes and not against itself.
"""

import os
import signal
import socket
import struct
import sys
from pathlib import Path

import msgpack

BEHAVIOUR = sys.argv[1]
MARKER = Path(sys.argv[2])
FD = int(sys.argv[sys.argv.index("--fd") + 1])
HELLO = {"model_sha256": "ab" * 32, "model": "scripted", "build": "test", "n_params": 1, "n_ctx": 64, "load_s": 0.0}


def main() -> None:
    connection = socket.socket(fileno=FD)
    while len(header := connection.recv(4, socket.MSG_WAITALL)) == 4:
        request = msgpack.unpackb(connection.recv(struct.unpack(">I", header)[0], socket.MSG_WAITALL))
        with MARKER.open("a") as marker:
            marker.write(f"{request['kind']} {os.getpid()}\n")
        answer(connection, request)


def answer(connection: socket.socket, request: dict) -> None:
    number, kind = request["id"], request["kind"]
    if kind == "hello" and BEHAVIOUR != "off":
        if BEHAVIOUR == "crash_at_start":
            os._exit(3)
        send(connection, {"kind": "hello", "id": number, **HELLO})
    elif kind == "ping":
        send(connection, {"kind": "ping", "id": number})
    elif kind == "generate":
        send(connection, {"kind": "generate", "id": number, "text": "H2 is 84 uL/L. ", "tokens": 7})
    else:
        choose(connection, number, len(request.get("labels", ())))


def choose(connection: socket.socket, number: int, labels: int) -> None:  # noqa: C901 - one line per misdeed
    good = {"kind": "choose", "id": number, "prompt_tokens": 9, "cached_tokens": 0}
    scores = [float(-rank) for rank in range(labels)]
    crashed_before = MARKER.read_text().count("hello") > 1
    match BEHAVIOUR:
        case "hang":
            signal.pause()
        case "crash":
            os._exit(3)
        case "crash_once" if not crashed_before:
            os._exit(3)
        case "garbage":
            connection.sendall(struct.pack(">I", 5) + b"\xc1\xff\x00\x92\x01")
        case "oversized":
            connection.sendall(struct.pack(">I", 1 << 30) + b"x" * 100)
        case "wrong_id":
            send(connection, {**good, "id": number + 1, "log_likelihoods": scores})
        case "too_few":
            send(connection, {**good, "log_likelihoods": scores[1:]})
        case "nan":
            send(connection, {**good, "log_likelihoods": [float("nan")] * labels})
        case "wrong_kind":
            send(connection, {"kind": "ping", "id": number})
        case "cut":
            connection.sendall(struct.pack(">I", 100) + b"half")
            os._exit(0)
        case "late" | "refused" | "off":
            send(connection, {"kind": "failure", "id": number, "reason": BEHAVIOUR, "text": "as told"})
        case _:
            send(connection, {**good, "log_likelihoods": scores})


def send(connection: socket.socket, message: dict) -> None:
    body = msgpack.packb(message)
    connection.sendall(struct.pack(">I", len(body)) + body)


main()
