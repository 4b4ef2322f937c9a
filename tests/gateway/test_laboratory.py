"""`blackstart sample …` against a real journal through the control socket: taken once, judged, kept."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from drivers.errors import BadInput
from gateway import cli_print
from gateway import laboratory as laboratory_module
from gateway.agents.hard import HardAgent
from gateway.alarms import TEXT_CHARS_MAX, AlarmBook, Judgement
from gateway.cli import app
from gateway.cli_sample import FILE_BYTES_MAX
from gateway.control import LINE_BYTES_MAX, SOCKET_NAME, serve
from gateway.laboratory import KIND, ROWS_MAX, SAMPLES_PER_ASSET, Laboratory
from journal import Journal
from models.asset import Asset, Fluid
from models.findings import Severity

pytestmark = pytest.mark.may_block  # the daemon serves its socket from the start; here within a test
PASSES_MAX = 1000
HEADER = "asset,time,lab,H2,CH4,C2H6,C2H4,C2H2\n"
QUIET = "T1,2025-09-01,Oil Lab,10,30,10,3,0\n"
RISEN = "T1,2025-12-01,Oil Lab,55,30,10,3,0\n"
ARCING = "T1,2026-01-10,Oil Lab,210,43,12,102,187\n"  # IEC TC10 database, inspected case, D2


@pytest.fixture
async def journal(tmp_path: Path, clock: Any) -> AsyncIterator[Journal]:
    journal = await Journal.open(tmp_path, clock)
    yield journal
    await journal.close()


@pytest.fixture
def told() -> list[Judgement]:
    return []


@pytest.fixture
async def laboratory(
    journal: Journal, t1: Asset, q1: Asset, clock: Any, told: list[Judgement], tmp_path: Path, monkeypatch: Any
) -> AsyncIterator[Laboratory]:
    laboratory = Laboratory([t1, q1], journal.store, clock, told.append)
    config = SimpleNamespace(gateway=SimpleNamespace(state_dir=tmp_path))
    monkeypatch.setattr(cli_print, "load", lambda _: config)
    serving = asyncio.create_task(serve(tmp_path, laboratory.handlers()))
    for _ in range(PASSES_MAX):
        if (tmp_path / SOCKET_NAME).exists():
            break
        await asyncio.sleep(0)
    assert not serving.done(), serving.exception()
    yield laboratory
    serving.cancel()
    await asyncio.wait([serving])


@pytest.fixture
def command(laboratory: Laboratory) -> Callable[..., Any]:
    async def run(*arguments: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, app, ["sample", *arguments], env={"COLUMNS": "250"})
        assert result.exit_code == code, result.output
        return str(result.exception) if isinstance(result.exception, BadInput) else result.output

    assert laboratory is not None
    return run


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., str]:
    def write(*rows: str) -> str:
        path = tmp_path / "samples.csv"
        path.write_text(HEADER + "".join(rows))
        return str(path)

    return write


async def test_the_same_file_changes_nothing_the_second_time(command: Any, csv: Any, journal: Journal) -> None:
    assert (await command("import", csv(QUIET, RISEN))).startswith("2 new, 0 corrected, 0 known")
    last_seq = journal.store.last_seq
    assert (await command("import", csv(QUIET, RISEN))).startswith("0 new, 0 corrected, 2 known")
    assert journal.store.last_seq == last_seq
    assert (await command("import", csv(QUIET, RISEN.replace("55", "56")))).startswith("0 new, 1 corrected, 1 known")
    assert len(await journal.store.latest(KIND)) == 2


async def test_a_list_holds_each_sample_with_its_status_and_the_reason(command: Any, csv: Any) -> None:
    await command("import", csv(RISEN, QUIET))
    newest, oldest = json.loads(await command("list", "T1", "--json"))
    assert (newest["source"], newest["time"], newest["lab"]) == ("laboratory", "2025-12-01T00:00:00+00:00", "Oil Lab")
    assert (newest["H2"], newest["status"], newest["code"]) == (55, 2, "T1")
    assert newest["exceeded"] == ["H2 rise 45 > 40 uL/L (C57.104 table 3)"]
    assert (oldest["status"], oldest["exceeded"], oldest["code"]) == (1, [], "N")
    assert len(oldest["not_judged"]) == 2
    assert "H2 rise 45 > 40 uL/L (C57.104 table 3)" in await command("list", "T1")


async def test_another_fluid_has_no_status_and_says_why(
    journal: Journal, t1: Asset, clock: Any, told: list[Judgement]
) -> None:
    ester = t1.model_copy(update={"nameplate": t1.nameplate.model_copy(update={"fluid": Fluid.NATURAL_ESTER})})
    laboratory = Laboratory([ester], journal.store, clock, told.append)
    (row,) = (await laboratory.take({"text": HEADER + ARCING}))["assets"]
    assert (row["status"], row["code"]) == (None, "")
    assert row["abstained"] == "IEEE C57.104 holds for mineral oil, not for natural_ester"
    assert [one.finding for one in told] == [None]


async def test_what_is_wrong_is_told_with_file_row_and_column_and_nothing_is_taken(command: Any, csv: Any) -> None:
    said = await command("import", csv(QUIET, "T9,2025-09-01,Oil Lab,x,1,1,1,1\n"), code=1)
    assert "samples.csv: 2 error(s), nothing was taken" in said
    assert "line 3: asset: 'T9' is no configured power transformer; there are: T1" in said
    assert "line 3: H2: 'x' is no number" in said
    assert json.loads(await command("list", "T1", "--json")) == []


async def test_a_wrong_file_or_asset_is_refused(command: Any, tmp_path: Path) -> None:
    assert "cannot be read: No such file" in await command("import", str(tmp_path / "absent.csv"), code=1)
    (tmp_path / "latin.csv").write_bytes(b"asset,\xe9\n")
    assert "not UTF-8 text" in await command("import", str(tmp_path / "latin.csv"), code=1)
    (tmp_path / "long.csv").write_text("x" * 500_000)
    assert "larger than 170000 bytes; import it in parts" in await command("import", str(tmp_path / "long.csv"), code=1)
    assert "no power transformer 'T9'; configured are: T1" in await command("list", "T9", code=1)


async def test_the_most_that_may_be_sent_fits_a_line_of_the_socket(laboratory: Laboratory) -> None:
    assert FILE_BYTES_MAX == laboratory_module.TEXT_CHARS_MAX
    assert len(json.dumps({"cmd": "sample_import", "text": "\0" * FILE_BYTES_MAX})) < LINE_BYTES_MAX
    with pytest.raises(BadInput, match="at most 170000 characters"):
        await laboratory.take({"text": "x" * (FILE_BYTES_MAX + 1)})


async def test_while_no_clock_can_be_trusted_no_sample_lies_in_the_future(laboratory: Laboratory, clock: Any) -> None:
    clock.wall = clock.wall.replace(year=1970)
    with pytest.raises(BadInput, match="lies in the future"):
        await laboratory.take({"text": HEADER + QUIET})
    clock.trusted = lambda: False
    assert (await laboratory.take({"text": HEADER + QUIET}))["new"] == 1


async def test_the_newest_sample_is_an_alarm_and_a_healthy_one_clears_it(
    command: Any, csv: Any, told: list[Judgement], t1: Asset, clock: Any
) -> None:
    book = AlarmBook("g1", "Northfield", [t1], clock, simulated=False)
    await command("import", csv(QUIET, RISEN, ARCING))
    raised = book.judge(told[-1])
    assert raised is not None
    assert (raised.alarm.code, raised.alarm.severity) == ("D2", Severity.CRITICAL)
    assert raised.alarm.text.startswith("B1 T1: oil sample 2026-01-10 D2, status 3; compare with monitor")
    assert len(raised.alarm.text) <= TEXT_CHARS_MAX
    assert {sample.point_id for sample in raised.alarm.finding.evidence} >= {"T1/LAB.H2", "T1/LAB.C2H2"}
    await command("import", csv("T1,2026-02-10,Oil Lab,10,30,10,3,0\n"))
    assert told[-1].finding is None
    cleared = book.judge(told[-1])
    assert cleared is not None
    assert cleared.alarm.active_state == "Inactive"


async def test_a_delta_alone_is_an_advisory(command: Any, csv: Any, told: list[Judgement]) -> None:
    await command("import", csv(QUIET, RISEN))
    assert len(told) == 1
    assert told[0].finding is not None
    assert told[0].finding.severity is Severity.ADVISORY
    assert any("C57.104 table 3" in fact.name for fact in told[0].finding.facts)


async def test_a_rate_alone_is_a_warning(command: Any, csv: Any, told: list[Judgement]) -> None:
    rows = [f"T1,2025-{month:02}-01,Oil Lab,{10 + 6 * month},30,10,3,0\n" for month in range(1, 10)]
    await command("import", csv(*rows))
    assert told[0].finding is not None
    assert (told[0].finding.severity, told[0].value) == (Severity.WARNING, "2025-09-01 N, status 3")


async def test_a_restart_keeps_the_samples_and_tells_again_what_may_not_have_been_told(
    command: Any, csv: Any, journal: Journal, t1: Asset, q1: Asset, clock: Any, told: list[Judgement]
) -> None:
    await command("import", csv(QUIET, ARCING))
    again: list[Judgement] = []
    restarted = Laboratory([t1, q1], journal.store, clock, again.append)
    restarted.restore(await journal.store.latest(KIND), {})
    assert again == told
    assert [row["status"] for row in await restarted.listed({"asset": "T1"})] == [3, 1]
    moved = Laboratory([q1], journal.store, clock, again.append)
    moved.restore(await journal.store.latest(KIND), {})  # T1 is configured no more
    assert len(again) == 1


async def test_the_monitors_last_day_stands_beside_the_samples(
    laboratory: Laboratory, t1: Asset, gas_points: Any, clock: Any, monitor: Any, gases: Any
) -> None:
    agent = HardAgent(t1, gas_points, clock)
    laboratory.restore([], {"T1": agent})
    assert await laboratory.listed({"asset": "T1"}) == []
    for _ in range(24):
        agent.observe(monitor.measure(gases["healthy"]))
    (row,) = await laboratory.listed({"asset": "T1"})
    assert (row["source"], row["time"], row["H2"]) == ("monitor", "2026-03-01T00:00:00+00:00", 20)


async def test_memory_holds_the_newest_of_many(laboratory: Laboratory, clock: Any) -> None:
    start = clock.now() - timedelta(days=SAMPLES_PER_ASSET + 10)
    rows = [f"T1,{(start + timedelta(days=day)).date()},L,10,30,10,3,0\n" for day in range(SAMPLES_PER_ASSET + 5)]
    answer = await laboratory.take({"text": HEADER + "".join(rows)})
    assert answer["new"] == SAMPLES_PER_ASSET + 5
    listed = await laboratory.listed({"asset": "T1"})
    assert len(listed) == ROWS_MAX
    assert listed[0]["time"] > listed[-1]["time"]
    assert len(laboratory._samples["T1"]) == SAMPLES_PER_ASSET
