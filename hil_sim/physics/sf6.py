"""Sulphur hexafluoride in a closed vessel: density (kg/m³) and temperature (°C) to absolute pressure (bar).

The Beattie-Bridgman equation in the form that breaker makers print (pressure in MPa, density d, temperature T in K):
    p = 0.57e-4·d·T·(1 + B) - d²·A,   A = 0.75e-4·(1 - 0.727e-3·d),   B = 2.51e-3·d·(1 - 0.846e-3·d)
Valid for the gas from 0 to about 15 bar.  In a closed vessel the density changes by leakage alone.
Called by `hil_sim.substation`.
"""

__all__ = ("SF6Model", "density_kg_m3", "pressure_bara")

KELVIN = 273.15
REFERENCE_DEGC = 20.0
MAX_DENSITY_KG_M3 = 120.0  # about 15 bar at 20 °C: the equation's range ends, and so does any breaker's
DAYS_S = 86_400.0
BISECTIONS = 60  # halves 120 kg/m³ below the resolution of a double


def pressure_bara(density: float, temperature_degc: float) -> float:
    """Absolute pressure in bar of SF6 at a density in kg/m³ and a temperature in °C."""
    a = 0.75e-4 * (1 - 0.727e-3 * density)
    b = 2.51e-3 * density * (1 - 0.846e-3 * density)
    return 10 * (0.57e-4 * density * (temperature_degc + KELVIN) * (1 + b) - density**2 * a)


def density_kg_m3(pressure: float, temperature_degc: float) -> float:
    """Density in kg/m³ that gives this absolute pressure in bar, by bisection."""
    low, high = 0.0, MAX_DENSITY_KG_M3
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if pressure_bara(middle, temperature_degc) < pressure:
            low = middle
        else:
            high = middle
    return (low + high) / 2


class SF6Model:
    """The gas of one breaker: it leaks at a rate and follows the temperature of its surroundings."""

    def __init__(self, *, fill_bara: float) -> None:
        """Filled to an absolute pressure in bar at 20 °C, tight."""
        self.density_kg_m3 = density_kg_m3(fill_bara, REFERENCE_DEGC)
        self.leak_percent_per_day = 0.0

    @property
    def pressure_20_bara(self) -> float:
        """Pressure normalised to 20 °C, bar absolute."""
        return pressure_bara(self.density_kg_m3, REFERENCE_DEGC)

    def advance(self, duration_s: float) -> None:
        """Lose what leaks in this time: a share of the gas that is left."""
        self.density_kg_m3 *= (1 - self.leak_percent_per_day / 100) ** (duration_s / DAYS_S)
