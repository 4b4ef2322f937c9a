"""The wheel holds the five packages with their data and nothing else, nobody else claims their names, the locks fit."""

import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PACKAGES = ("drivers", "gateway", "hil_sim", "journal", "models")


def pins(lock: str) -> dict[str, set[str]]:
    """Name to versions; a universal lock may pin two, for different Pythons."""
    found: dict[str, set[str]] = {}
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    for name, version in re.findall(r"^([\w.-]+)==([^ ;]+)", text, flags=re.MULTILINE):
        found.setdefault(name, set()).add(version)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a freshly built wheel."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not in this environment: make setup")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-I", "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel: set[str]) -> None:
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel if not name.startswith("blackstart-")} == sources


def test_the_wheel_brings_the_unit_the_schemas_and_the_licence(wheel: set[str]) -> None:
    shared = {name.partition(".data/data/share/blackstart/")[2] for name in wheel} - {""}
    expected = {f"systemd/{path.name}" for path in (ROOT / "systemd").iterdir()}
    expected |= {f"schema/{path.name}" for path in (ROOT / "docs" / "schema").glob("*")}
    assert shared == expected
    assert any(name.endswith("/licenses/LICENSE") for name in wheel)


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_distribution_claims_our_name(name: str) -> None:
    assert set(packages_distributions().get(name, ())) <= {"blackstart"}


@pytest.mark.parametrize("name", PACKAGES)
def test_what_is_imported_is_what_lies_in_the_tree(name: str) -> None:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin == str(ROOT / name / "__init__.py")


def test_what_is_tested_is_what_is_installed_in_the_field() -> None:
    assert pins("run").items() <= pins("dev").items(), "make lock"


@pytest.mark.parametrize("lock", ["build", "run", "dev", "core", "model", "bench"])
def test_every_pin_has_a_hash(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    blocks = re.split(r"^(?=\w)", text, flags=re.MULTILINE)
    assert [block for block in blocks if block and "--hash=sha256:" not in block] == []


def test_the_lock_fits_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *(("dev", text) for text in project["project"]["dependencies"]),
        *(("dev", text) for text in [*extras["sim"], *extras["train"], *project["dependency-groups"]["dev"]]),
        *(("core", text) for text in extras["core"]),
        *(("build", text) for text in project["build-system"]["requires"]),
    ]
    unfit = [
        text
        for lock, text in wanted
        for need in [Requirement(text)]
        if not any(need.specifier.contains(version) for version in pins(lock).get(need.name, ()))
    ]
    assert unfit == [], "make lock"
