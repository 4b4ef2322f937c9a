"""The pages about the journal are true: their code runs, in order, and what they link to is there."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.config import JournalConfig
from journal.engine import RunState
from journal.schema import VIEWS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
DURABLE = ROOT / "docs" / "durable.md"


def code_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


async def test_every_block_of_the_page_runs(tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"state_dir": tmp_path, "__name__": "durable_md"}
    blocks = code_of(DURABLE)
    assert len(blocks) >= 4
    for number, block in enumerate(blocks):
        code = compile(block, f"durable.md, block {number + 1}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        coroutine = eval(code, namespace)
        await coroutine if coroutine is not None else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_it_links_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = {link for link in links if "://" not in link and not (page.parent / link).exists()}
    assert not missing


def test_each_of_our_features_has_its_test() -> None:
    rows = re.findall(
        r"^\| (.+?) \| (.+?) \|", DURABLE.read_text(encoding="utf-8").partition("## Beside others")[2], re.MULTILINE
    )
    ours = dict(rows[2:])
    assert len(ours) > 20
    assert {name for name, cell in ours.items() if "](../tests/" not in cell} == set()


def test_the_states_are_those_of_the_engine() -> None:
    table = DURABLE.read_text(encoding="utf-8").partition("| State | Means |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert {word for cell in first_cells for word in re.findall(r"`(\w+)`", cell)} == set(RunState)


def test_the_views_and_limits_are_those_of_the_code() -> None:
    page = DURABLE.read_text(encoding="utf-8")
    shown = page.partition("| View |")[2].partition("\n\n")[0]
    names = re.findall(r"^\| `(\w+)` \|", shown, re.MULTILINE)
    assert names == re.findall(r"VIEW (\w+) AS", "".join(VIEWS))
    limits = page.partition("| `[journal]` |")[2].partition("\n\n")[0]
    told = {
        name: float(default.replace(",", ""))
        for name, default in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", limits, re.MULTILINE)
    }
    assert told == JournalConfig().model_dump(exclude_none=True)
