"""`blackstart diagnose`: the deterministic methods on values typed by a person; no daemon, no journal, no model."""

from pydantic import ValidationError

from drivers.errors import BadInput
from models.asset import Nameplate
from models.dga.consensus import diagnose
from models.dga.gases import Gases
from models.explain import explanation
from models.findings import Diagnosis

__all__ = ("diagnose_values",)


def diagnose_values(
    *,
    h2: float,
    ch4: float,
    c2h6: float,
    c2h4: float,
    c2h2: float,
    co: float | None = None,
    co2: float | None = None,
    age_years: float | None = None,
) -> Diagnosis:
    """Diagnose gases in µL/L, with the explanation filled in.  Raises BadInput naming the gas and what is wrong."""
    try:
        gases = Gases(
            h2_ul_l=h2, ch4_ul_l=ch4, c2h6_ul_l=c2h6, c2h4_ul_l=c2h4, c2h2_ul_l=c2h2, co_ul_l=co, co2_ul_l=co2
        )
        nameplate = Nameplate(age_years=age_years)
    except ValidationError as err:
        lines = [f"{detail['loc'][0]}: {detail['msg']} (found {detail['input']})" for detail in err.errors()]
        raise BadInput("; ".join(lines)) from err
    diagnosis = diagnose(gases, nameplate)
    return diagnosis.model_copy(update={"explanation": explanation(diagnosis, "sample")})
