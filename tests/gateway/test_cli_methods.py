"""`blackstart methods` as people and machines meet it."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from drivers.errors import BadInput
from gateway.cli import app
from models.methods import METHODS


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["methods", *arguments])


def test_every_method_is_listed() -> None:
    told = json.loads(run("--json").stdout)
    assert [sheet["name"] for sheet in told] == [sheet.name for sheet in METHODS]
    assert "duval_triangle_1" in run().stdout


def test_one_method_is_shown_in_full() -> None:
    told = run("duval_triangle_4").stdout
    assert "mark: one source" in told
    assert "only where Triangle 1 says PD, T1 or T2" in told
    assert json.loads(run("duval_triangle_4", "--json").stdout)["name"] == "duval_triangle_4"


def test_a_name_that_is_not_there_hears_what_is_near() -> None:
    with pytest.raises(BadInput, match="near: duval_triangle_5"):
        CliRunner().invoke(app, ["methods", "duval_triangle_6"], catch_exceptions=False)
