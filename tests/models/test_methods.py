"""The data sheets: each names a function that is there, once."""

from importlib import import_module

import pytest

from models.data_sheet import DataSheet
from models.methods import METHODS


@pytest.mark.parametrize("sheet", METHODS, ids=lambda sheet: sheet.name)
def test_a_sheet_names_a_public_function_and_leaves_nothing_open(sheet: DataSheet) -> None:
    module, _, name = sheet.function.rpartition(".")
    assert callable(getattr(import_module(module), name))
    assert name in import_module(module).__all__
    assert all((sheet.title, sheet.inputs, sheet.output, sheet.validity, sheet.source))


def test_names_are_unique() -> None:
    assert len({sheet.name for sheet in METHODS}) == len(METHODS)
