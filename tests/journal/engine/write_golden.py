"""Writes what later releases and other Pythons are held to: `python tests/journal/engine/write_golden.py`.

keys.json for test_pythons, and a folder of golden journals for this release for test_golden.  Run it once per
release; what an older release wrote is never written again.
"""

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
RELEASE = "0.1.0"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"golden_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def journal_of(make_world: Any, crash: ModuleType, wf: Any, args: tuple[Any, ...]) -> bytes:
    from journal.engine import encode  # noqa: PLC0415

    _, world = await crash.undisturbed(make_world, wf, args)
    return bytes(encode([row_of(row) for row in world.store.records]))


def row_of(row: Any) -> dict[str, Any]:
    names = ("seq", "epoch", "wall", "kind", "run_id", "key", "name", "arg_hash", "payload")
    return {name: getattr(row, name) for name in names}


def main() -> None:
    sys.path.insert(0, str(HERE.parents[2]))
    make_world = load("conftest").World
    pythons, crash = load("test_pythons"), load("test_crash")
    keys = {wf.name: asyncio.run(pythons.keys_of(make_world(), wf)) for wf in pythons.WORKFLOWS}
    (HERE / "keys.json").write_text(json.dumps(keys, indent=1) + "\n")
    folder = HERE / "golden" / RELEASE
    folder.mkdir(parents=True, exist_ok=True)
    for wf, args in crash.CORPUS:
        (folder / f"{wf.name}.bin").write_bytes(asyncio.run(journal_of(make_world, crash, wf, args)))


if __name__ == "__main__":
    main()
