"""The wheel holds the five packages with their data and nothing else, and nobody else claims their names."""

import importlib.util
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("drivers", "gateway", "hil_sim", "journal", "models")


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
