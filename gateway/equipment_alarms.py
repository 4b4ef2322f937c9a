"""Alarm definitions of gas trends, breakers, tap changers, bushings and batteries: part of the master alarm list.

Each has cause, consequence and response, and hours to respond by severity.  Read by `gateway.alarms`.
"""

from drivers.base import Frozen, Name
from models.findings import Severity

__all__ = ("EQUIPMENT", "AlarmDefinition")


class AlarmDefinition(Frozen):
    """One line of the master alarm list: without cause, consequence and response it would be an event."""

    name: Name
    what: str
    cause: str
    consequence: str
    response: str
    time_to_respond_h: dict[Severity, float]


EQUIPMENT = (
    AlarmDefinition(
        name="GasLeak",
        what="gas leak",
        cause="Loss of insulating gas over days, with top-ups and temperature taken out.",
        consequence="The alarm stage is reached in the stated time; the gas harms the climate.",
        response="locate leak, plan refill",
        time_to_respond_h={Severity.ADVISORY: 720, Severity.WARNING: 168, Severity.CRITICAL: 24},
    ),
    AlarmDefinition(
        name="BreakerWear",
        what="contacts",
        cause="Current interrupted so far has worn contacts and nozzle.",
        consequence="A worn interrupter may fail to clear a fault.",
        response="plan overhaul",
        time_to_respond_h={Severity.ADVISORY: 2160, Severity.WARNING: 720, Severity.CRITICAL: 24},
    ),
    AlarmDefinition(
        name="BreakerDrive",
        what="drive",
        cause="Friction, a weak spring, or supply of the motor: the IED's records have drifted.",
        consequence="The breaker operates slowly, or not at all when it must.",
        response="measure timing, plan service",
        time_to_respond_h={Severity.ADVISORY: 2160, Severity.WARNING: 336, Severity.CRITICAL: 24},
    ),
    AlarmDefinition(
        name="BreakerIdle",
        what="breaker",
        cause="The breaker has not moved for longer than its owner allows.",
        consequence="Grease sets and contacts film: the first opening may be slow.",
        response="plan a test operation",
        time_to_respond_h={Severity.ADVISORY: 2160, Severity.WARNING: 720, Severity.CRITICAL: 168},
    ),
    AlarmDefinition(
        name="TapChangerDrive",
        what="tap drive",
        cause="Torque or motor current of the drive left its own pattern.",
        consequence="The tap changer may stop between two taps.",
        response="plan inspection of drive",
        time_to_respond_h={Severity.ADVISORY: 2160, Severity.WARNING: 336, Severity.CRITICAL: 24},
    ),
    AlarmDefinition(
        name="TapChangerHot",
        what="tap changer oil",
        cause="The compartment is hotter than the main tank: a contact makes heat.",
        consequence="Coking contacts can fail and gas the compartment.",
        response="take its oil sample",
        time_to_respond_h={Severity.ADVISORY: 720, Severity.WARNING: 168, Severity.CRITICAL: 24},
    ),
    AlarmDefinition(
        name="TapChangerWear",
        what="tap changer",
        cause="Contacts or operations have come near the owner's limit.",
        consequence="Worn contacts arc for longer and foul the oil.",
        response="plan overhaul",
        time_to_respond_h={Severity.ADVISORY: 2160, Severity.WARNING: 720, Severity.CRITICAL: 168},
    ),
    AlarmDefinition(
        name="BushingInsulation",
        what="bushing",
        cause="Capacitance or loss factor left its reference: layers break down or water enters.",
        consequence="A bushing can explode and set the transformer on fire.",
        response="plan off-line test",
        time_to_respond_h={Severity.ADVISORY: 720, Severity.WARNING: 72, Severity.CRITICAL: 1},
    ),
    AlarmDefinition(
        name="BatteryCapacity",
        what="battery",
        cause="The last discharge test came out below the usual limits.",
        consequence="Protection and trip coils lose their supply sooner than planned.",
        response="plan replacement",
        time_to_respond_h={Severity.ADVISORY: 2160, Severity.WARNING: 720, Severity.CRITICAL: 24},
    ),
    AlarmDefinition(
        name="BatteryTrend",
        what="battery",
        cause="Impedance or float current rose over its own baseline.",
        consequence="A cell may open or dry out: no supply when the mains fail.",
        response="test cells",
        time_to_respond_h={Severity.ADVISORY: 720, Severity.WARNING: 168, Severity.CRITICAL: 24},
    ),
)
