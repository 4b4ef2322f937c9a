"""The pages about the journal are true: their code runs, in order, and what they link to is there."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

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
    assert {
        name for name, cell in ours.items() if "](../tests/" not in cell and not cell.startswith(("not yet", "no"))
    } == set()
