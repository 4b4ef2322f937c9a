"""The reasoning core's own process: loads one GGUF file with llama.cpp and answers framed questions until told to end.

    python -m models.core_worker --fd 7 --model model.gguf --sha256 <hex> --parent <pid> --memory-mb 1024

It may be killed at any time, since it keeps nothing: it dies with its parent (PR_SET_PDEATHSIG), at the socket's
end and on SIGTERM, and raises its own OOM score so that the kernel takes it before the daemon.  This is the only
module that imports `llama_cpp`.  Every question starts from a cleared context and the same two batches (static
prefix, rest), restored or computed, so that the same question gets the same bits.
"""

import os

os.environ["OMP_WAIT_POLICY"] = "passive"  # before libgomp loads: spinning threads starve the pollers tenfold

import argparse
import ctypes
import hashlib
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.core_protocol import (
    HEADER_BYTES,
    MAX_LABELS,
    BadFrame,
    ChooseReply,
    ChooseRequest,
    Failure,
    GenerateReply,
    GenerateRequest,
    HelloReply,
    HelloRequest,
    PingReply,
    PingRequest,
    Prompt,
    Reply,
    Request,
    decode_request,
    encode,
    frame_size,
)

__all__ = ("main",)

CONTEXT_TOKENS = 2048  # prompts here stay under 600; 23 kB of cache each
BATCH_TOKENS = 512
DECODE_THREADS = 1  # layers this small lose more to wake-ups than they gain
PREFILL_THREADS = 2
NICENESS = 5  # the pollers come first
OOM_SCORE = 500  # of 1000: taken before the daemon
MAX_PREFIXES = 4  # static prefixes kept in memory, about 7 MB each
PIECE_BYTES = 256
DECODE_ABORTED = 2  # llama_decode: the abort callback said so
DECODE_NO_SLOT = 1
PR_SET_PDEATHSIG = 1

Row = tuple[int, int, int, bool]  # token, position, sequence, logits wanted


class _Late(Exception):
    """The request's time was up."""


class _Refused(Exception):
    """The request cannot be answered."""


class _Off(Exception):
    """No request can be answered by this process, nor by another one started alike."""


class _Engine:
    """One model with one context.  Not thread-safe; owned by the serving loop."""

    def __init__(self, path: Path, sha256: str | None) -> None:
        started_s = time.monotonic()
        self.deadline_s = float("inf")
        self.sha256 = _verified(path, sha256)
        self._lib = lib = _library()
        self._log = lib.llama_log_callback(lambda _level, _text, _data: None)  # referenced as long as C may call it
        self._abort = lib.ggml_abort_callback(lambda _data: time.monotonic() > self.deadline_s)
        lib.llama_log_set(self._log, None)
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())
        if not self._model:
            raise _Off(f"{path.name} is not a model that llama.cpp can load within core.memory_mb")
        self._context = lib.llama_init_from_model(self._model, self._context_params())
        if not self._context:
            raise _Off(f"{path.name} got no context: is core.memory_mb too small?")
        lib.llama_set_abort_callback(self._context, self._abort, None)
        self._memory = lib.llama_get_memory(self._context)
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._n_vocab = lib.llama_vocab_n_tokens(self._vocab)
        end = lib.llama_vocab_eot(self._vocab)
        self._end = end if end >= 0 else lib.llama_vocab_eos(self._vocab)
        self._batch = lib.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._prefixes: dict[tuple[int, ...], Any] = {}
        self.load_s = time.monotonic() - started_s

    def _context_params(self) -> Any:
        params = self._lib.llama_context_default_params()
        params.n_ctx = CONTEXT_TOKENS
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_threads = DECODE_THREADS
        params.n_threads_batch = PREFILL_THREADS
        params.n_seq_max = MAX_LABELS + 1
        params.kv_unified = True  # the labels share the prompt's cells
        return params

    def hello(self, request: HelloRequest) -> HelloReply:
        """Who this is."""
        text = ctypes.create_string_buffer(128)
        self._lib.llama_model_desc(self._model, text, len(text))
        return HelloReply(
            id=request.id,
            model_sha256=self.sha256,
            model=text.value.decode("utf-8", "replace"),
            build=self._lib.llama_print_system_info().decode("utf-8", "replace")[:512],
            n_params=self._lib.llama_model_n_params(self._model),
            n_ctx=CONTEXT_TOKENS,
            load_s=self.load_s,
        )

    def choose(self, request: ChooseRequest) -> ChooseReply:
        """Sum of log-probabilities of each label's tokens and the end token, all labels in one decode."""
        tokens, cached = self._prefill(request.prompt)
        first = self._log_probabilities(-1)
        labels = [[*self._tokens(label, special=False), self._end] for label in request.labels]
        sums = [first[label[0]] for label in labels]
        rows: list[Row] = []
        wanted: list[tuple[int, int]] = []  # label's number and the token that each row has to predict
        for number, label in enumerate(labels):
            self._lib.llama_memory_seq_cp(self._memory, 0, number + 1, -1, -1)
            for i, (token, following) in enumerate(pairwise(label)):
                rows.append((token, tokens + i, number + 1, True))
                wanted.append((number, following))
        self._decode(rows)
        for i, (number, following) in enumerate(wanted):
            sums[number] += self._log_probabilities(i)[following]
        return ChooseReply(
            id=request.id,
            log_likelihoods=tuple(float(value) for value in sums),
            prompt_tokens=tokens,
            cached_tokens=cached,
        )

    def generate(self, request: GenerateRequest) -> GenerateReply:
        """The likeliest token each time, until the model ends, a stop string appears or the tokens are spent."""
        position, _ = self._prefill(request.prompt)
        written, text, count = b"", "", 0
        while count < request.max_tokens:
            token = int(self._logits(-1).argmax())
            if self._lib.llama_vocab_is_eog(self._vocab, token):
                break
            count += 1
            written += self._piece(token)
            text = written.decode("utf-8", "replace")
            found = [at for at in (text.find(stop) for stop in request.stop) if at >= 0]
            if found:
                text = text[: min(found)]
                break
            self._decode([(token, position, 0, True)])
            position += 1
        return GenerateReply(id=request.id, text=text, tokens=count)

    def _prefill(self, prompt: Prompt) -> tuple[int, int]:
        """Clear, bring in the static prefix, compute the rest: (tokens in sequence 0, of them restored)."""
        prefix = self._tokens(prompt.prefix, special=True)
        if self._lib.llama_vocab_get_add_bos(self._vocab):
            prefix.insert(0, self._lib.llama_vocab_bos(self._vocab))
        rest = [*self._tokens(prompt.evidence, special=False), *self._tokens(prompt.suffix, special=True)]
        if not rest:
            raise _Refused("the prompt is empty behind its static prefix")
        if len(prefix) + len(rest) > CONTEXT_TOKENS - BATCH_TOKENS:
            raise _Refused(f"the prompt takes {len(prefix) + len(rest)} tokens: too many")
        self._lib.llama_memory_clear(self._memory, True)
        cached = self._restore(tuple(prefix))
        self._decode([(token, len(prefix) + i, 0, i == len(rest) - 1) for i, token in enumerate(rest)])
        return len(prefix) + len(rest), cached

    def _restore(self, prefix: tuple[int, ...]) -> int:
        """Put the prefix into sequence 0, from the kept state if there is one; how many tokens that saved."""
        state = self._prefixes.get(prefix)
        if state is not None and self._lib.llama_state_seq_set_data(self._context, state, len(state), 0):
            return len(prefix)
        self._decode([(token, i, 0, False) for i, token in enumerate(prefix)])
        size = self._lib.llama_state_seq_get_size(self._context, 0)
        state = (ctypes.c_uint8 * size)()
        if self._lib.llama_state_seq_get_data(self._context, state, size, 0) == size:
            while len(self._prefixes) >= MAX_PREFIXES:
                self._prefixes.pop(next(iter(self._prefixes)))
            self._prefixes[prefix] = state
        return 0

    def _decode(self, rows: Sequence[Row]) -> None:
        batch = self._batch
        for start in range(0, len(rows), BATCH_TOKENS):
            chunk = rows[start : start + BATCH_TOKENS]
            batch.n_tokens = len(chunk)
            for i, (token, position, sequence, logits) in enumerate(chunk):
                batch.token[i], batch.pos[i], batch.logits[i] = token, position, logits
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            code = self._lib.llama_decode(self._context, batch)
            if code == DECODE_ABORTED:
                raise _Late
            if code == DECODE_NO_SLOT:
                raise _Refused("the context is full")
            if code:
                raise RuntimeError(f"llama_decode returned {code}")  # unknown state: end, and be started anew

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        raw = text.encode()
        room = len(raw) + 8
        tokens = (self._lib.llama_token * room)()
        count = self._lib.llama_tokenize(self._vocab, raw, len(raw), tokens, room, False, special)
        if count < 0:
            raise _Refused("the text cannot be tokenised")
        return list(tokens[:count])

    def _piece(self, token: int) -> bytes:
        piece = ctypes.create_string_buffer(PIECE_BYTES)
        size = self._lib.llama_token_to_piece(self._vocab, token, piece, PIECE_BYTES, 0, False)
        return piece.raw[: max(size, 0)]

    def _logits(self, row: int) -> NDArray[np.float64]:
        pointer = self._lib.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(pointer, shape=(self._n_vocab,)).astype(np.float64)

    def _log_probabilities(self, row: int) -> NDArray[np.float64]:
        logits = self._logits(row)
        shifted: NDArray[np.float64] = logits - logits.max()
        shifted -= np.log(np.exp(shifted).sum())
        return shifted


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one socket until it ends; 0 at its end, 1 when no request could ever be answered."""
    parser = argparse.ArgumentParser(prog="models.core_worker")
    parser.add_argument("--fd", type=int, required=True, help="connected stream socket, inherited")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--sha256", default=None, help="refuse any other file")
    parser.add_argument("--parent", type=int, default=None, help="die with this process")
    parser.add_argument("--memory-mb", type=int, default=1024, help="bound of the address space")
    options = parser.parse_args(argv)
    _confine(options.memory_mb, options.parent)
    with socket.socket(fileno=options.fd) as connection:
        try:
            engine = _Engine(options.model, options.sha256)
        except _Off as off:
            return _decline(connection, str(off))
        return _serve(connection, engine)


def _serve(connection: socket.socket, engine: _Engine) -> int:
    while (request := _receive(connection)) is not None:
        engine.deadline_s = time.monotonic() + getattr(request, "timeout_s", float("inf"))
        try:
            reply = _answer(engine, request)
        except _Late:
            reply = Failure(id=request.id, reason="late", text="the deadline passed while the model was computing")
        except _Refused as refused:
            reply = Failure(id=request.id, reason="refused", text=str(refused))
        connection.sendall(encode(reply))
    return 0


def _answer(engine: _Engine, request: Request) -> Reply:
    match request:
        case HelloRequest():
            return engine.hello(request)
        case PingRequest():
            return PingReply(id=request.id)
        case ChooseRequest():
            return engine.choose(request)
        case GenerateRequest():
            return engine.generate(request)


def _decline(connection: socket.socket, why: str) -> int:
    request = _receive(connection)
    if request is not None:
        connection.sendall(encode(Failure(id=request.id, reason="off", text=why[:500])))
    return 1


def _receive(connection: socket.socket) -> Request | None:
    """The next request; None at the socket's end or after bytes that are none."""
    try:
        header = connection.recv(HEADER_BYTES, socket.MSG_WAITALL)
        if len(header) < HEADER_BYTES:
            return None
        size = frame_size(header)
        body = connection.recv(size, socket.MSG_WAITALL)
        return decode_request(body) if len(body) == size else None
    except (BadFrame, ConnectionError) as err:
        sys.stderr.write(f"core worker: {err}\n")
        return None


def _confine(memory_mb: int, parent: int | None) -> None:
    """Lower this process below the daemon: priority, memory, lifetime."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the daemon's to handle; it closes the socket
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)
    Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    if parent is not None:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            sys.exit(1)


def _verified(path: Path, sha256: str | None) -> str:
    """SHA-256 of the file; `_Off` if it cannot be read or is another one than was asked for."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise _Off(f"{path.name} cannot be read: {err.strerror}") from err
    if sha256 is not None and found != sha256:
        raise _Off(f"{path.name} has SHA-256 {found}, not {sha256}")
    return found


def _library() -> Any:
    try:
        from llama_cpp import llama_cpp  # noqa: PLC0415 - after the limits are set, and it may be absent
    except ImportError as err:
        raise _Off("llama-cpp-python is not installed") from err
    except (OSError, RuntimeError) as err:
        raise _Off(f"llama-cpp-python cannot be loaded: {err}") from err
    return llama_cpp


if __name__ == "__main__":
    sys.exit(main())
