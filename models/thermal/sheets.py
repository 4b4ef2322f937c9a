"""Data sheets of the thermal methods: what each takes, gives and is good for."""

from models.data_sheet import DataSheet, Mark

__all__ = ("SHEETS",)

_OIL = "mineral oil, one cooling stage"
_INPUTS = ("load in per unit of rating", "ambient in degC", "nameplate: cooling, for ONAN also the heat run")

SHEETS = (
    DataSheet(
        name="iec_60076_7_hot_spot",
        title="Top oil and hot spot",
        function="models.thermal.step",
        inputs=(*_INPUTS, "or measured top oil in degC"),
        output="top oil and hot spot in degC",
        validity=(_OIL, "steps of up to a day; names what the nameplate leaves to the table"),
        source="IEC 60076-7:2018, difference equations",
        mark=Mark.VERIFIED,
    ),
    DataSheet(
        name="paper_ageing",
        title="Ageing rate and loss of life",
        function="models.thermal.ageing_rate",
        inputs=("hot spot in degC", "nameplate: paper"),
        output="relative ageing, 1 at the paper's reference temperature",
        validity=("temperature alone: neither moisture nor oxygen", "loss of life, no forecast of remaining life"),
        source="IEC 60076-7 (kraft), IEEE C57.91 (thermally upgraded)",
        mark=Mark.VERIFIED,
    ),
    DataSheet(
        name="iec_60076_7_limits",
        title="Loading limits",
        function="models.thermal.overheating",
        inputs=("top oil in degC", "hot spot in degC"),
        output="HotSpotHigh or TopOilHigh: warning above normal cyclic, critical above long-time emergency loading",
        validity=(_OIL, "a power transformer is taken as large"),
        source="IEC 60076-7, table of limits",
        mark=Mark.ONE_SOURCE,
    ),
    DataSheet(
        name="iec_60076_7_residual",
        title="Cooling fault",
        function="models.thermal.cooling.CoolingMonitor",
        inputs=(*_INPUTS, "measured top oil in degC"),
        output="how much hotter the oil is than load and ambient explain, in K, and its limit",
        validity=(
            _OIL,
            "after two weeks of commissioning; never learns onto a fault; another nameplate starts another one",
            "abstains where load and ambient leave a spread of more than 3.75 K unexplained",
        ),
        source="the oil equation of IEC 60076-7, fitted to the one transformer",
        mark=Mark.OWN,
    ),
    DataSheet(
        name="overload",
        title="Overload calculator",
        function="models.thermal.overload.overload",
        inputs=(*_INPUTS, "thermal state", "limits in degC"),
        output="time until each limit",
        validity=(_OIL, "constant load and ambient; a planning aid that lists what it does not model"),
        source="IEC 60076-7:2018, difference equations",
        mark=Mark.VERIFIED,
    ),
)
