"""What triangles and pentagons share: a dated sample, what each method says of it, and that in words.

Called by `triangle`, `pentagon` and `gateway.cli_plot`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from models.dga import duval
from models.dga.gases import Gases
from models.dga.zones import MEANING, ZONES, Answer, Zone

__all__ = ("GasSample", "caption", "description", "gas_name")

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def _always(method: Callable[[Gases], str | None]) -> Callable[[Gases], Answer]:
    """A method that answers with a fault code or nothing, as one that says why it abstains."""

    def answer(gases: Gases) -> Answer:
        code = method(gases)
        return Answer(Zone(code)) if code else Answer(None, "no gas")

    return answer


METHODS: Mapping[str, Callable[[Gases], Answer]] = MappingProxyType(
    {
        "duval_triangle_1": _always(duval.triangle_1),
        "duval_triangle_2": duval.triangle_2,
        "duval_triangle_4": duval.triangle_4,
        "duval_triangle_5": duval.triangle_5,
        "duval_pentagon_1": _always(duval.pentagon_1),
        "duval_pentagon_2": duval.pentagon_2,
    }
)
assert METHODS.keys() == ZONES.keys(), "each diagram is drawn with its own method"


@dataclass(frozen=True, slots=True)
class GasSample:
    """Gases and when they were measured, in words; empty where nobody says."""

    gases: Gases
    when: str = ""

    def code(self, name: str) -> str:
        """What the method of that diagram says; empty where it abstains."""
        return str(METHODS[name](self.gases).zone or "")

    def tip(self, name: str) -> str:
        """The sample in words."""
        answer = METHODS[name](self.gases)
        said = f"{answer.zone}, {MEANING[answer.zone]}" if answer.zone else f"abstains: {answer.abstained}"
        return f"{self.when}: {said}" if self.when else said


def gas_name(gas: str) -> str:
    """`C₂H₂` for `c2h2`."""
    return gas.upper().translate(SUBSCRIPTS)


def caption(name: str, samples: Sequence[GasSample]) -> list[str]:
    """At most two lines below the picture."""
    if not samples:
        return ["no sample"]
    if len(samples) == 1:
        return [samples[0].tip(name)]
    first, last = samples[0].when or "oldest", samples[-1].tip(name)
    return [f"{len(samples)} samples from {first} (hollow) to the last (large)", last]


def description(name: str, samples: Sequence[GasSample]) -> str:
    """For screen readers: the figure and where the samples lie."""
    gases = ", ".join(gas.upper() for gas in ZONES[name].gases)
    zones = ", ".join(f"{zone} ({MEANING[zone]})" for zone in ZONES[name].zones)
    visited = list(dict.fromkeys(code for code in (sample.code(name) for sample in samples) if code))
    passed = f"The samples lie in {' then '.join(visited)}. " if visited else ""
    return f"Shares of {gases}. {passed}{' '.join(caption(name, samples))}. Zones: {zones}."
