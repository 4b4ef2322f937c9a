"""Every method's data sheet, in the order in which people ask for them; `blackstart methods` prints them."""

from models import prognosis, thermal
from models.data_sheet import DataSheet
from models.dga import consensus, duval, limits, rates, ratios, typical

__all__ = ("METHODS",)

METHODS: tuple[DataSheet, ...] = (
    *consensus.SHEETS,
    *duval.SHEETS,
    *ratios.SHEETS,
    *limits.SHEETS,
    *typical.SHEETS,
    *rates.SHEETS,
    *thermal.SHEETS,
    *prognosis.SHEETS,
)
