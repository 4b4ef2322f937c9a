"""Every data sheet names a function that exists, and every method of a finding or an answer has its sheet."""

from importlib import import_module

import pytest

from models import prognosis, thermal

SHEETS = (*thermal.SHEETS, *prognosis.SHEETS)


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_the_function_exists_and_the_sheet_is_filled_in(sheet):
    module, _, name = sheet.function.rpartition(".")
    assert callable(getattr(import_module(module), name))
    assert all((*sheet.inputs, *sheet.validity, sheet.output, sheet.source, sheet.title))


def test_names_are_unique():
    assert len({sheet.name for sheet in SHEETS}) == len(SHEETS)


def test_methods_named_in_findings_have_a_sheet():
    assert {"iec_60076_7_limits", "iec_60076_7_residual"} <= {sheet.name for sheet in SHEETS}
