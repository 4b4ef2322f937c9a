"""The configuration of one Modbus link: which line, which devices on it, and what must not be.

Four lines: Modbus TCP, Modbus TLS (port 802, mutual), RTU on a serial line, RTU through a TCP socket.  Read by
`gateway.config`; used by `drivers.modbus`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from drivers.base import Frozen, Name
from drivers.errors import Misconfigured
from drivers.templates import Check, Template, WordOrder, load_template

__all__ = ("ModbusDevice", "ModbusLinkConfig", "ModbusTls", "SerialLine", "link_conflicts")

MAX_DEVICES = 247  # unit ids that a line can hold
TIMEOUT_ALLOWED_S = 1.0  # also where polls are closer: a busy device must not cost its link; late ticks are skipped
TLS_PORT = 802  # assigned to Modbus security
BITS_PER_CHARACTER = 11  # start, eight data, parity and stop, or two stops
RTU_PROTOCOLS = ("modbus_rtu", "modbus_rtu_tcp")


def _known_template(name: str) -> str:
    try:
        load_template(name)
    except Misconfigured as err:
        raise ValueError(str(err)) from err  # pydantic collects ValueErrors into its one report
    return name


class ModbusDevice(Frozen):
    """One device behind the link; `word_order` overrides the template's, to mend a wrongly set device.

    `max_registers` is for a device that takes less in one request than its template says; `check` adds settings,
    in the numbering of the template, that must be as expected at every connect.
    """

    name: Name
    asset: Name
    unit_id: int = Field(default=1, ge=1, le=255)
    template: Annotated[str, AfterValidator(_known_template)]
    word_order: WordOrder | None = None
    max_registers: int | None = Field(default=None, ge=1, le=125)
    check: tuple[Check, ...] = ()
    frozen_after_cycles: int | None = Field(
        default=None, ge=0, description="identical measurements until doubted; 0: never; default: the template's"
    )

    @model_validator(mode="after")
    def _fits(self) -> "ModbusDevice":
        self.own_template()
        return self

    def own_template(self) -> Template:
        """The template as it holds for this device.  Raises ValueError where the overrides do not fit it."""
        template = load_template(self.template)
        changes: dict[str, Any] = {"check": (*template.check, *self.check)}
        if self.max_registers is not None:
            changes["max_registers"] = min(self.max_registers, template.max_registers)
        if self.word_order is not None:
            changes["word_order"] = self.word_order
        return Template.model_validate(template.model_copy(update=changes).model_dump(by_alias=True))


class SerialLine(Frozen):
    """A serial port; eight data bits."""

    port: Path = Field(description="for example /dev/ttyAMA0; a name below /dev/serial/by-id survives replugging")
    baudrate: int = Field(default=19_200, ge=300, le=4_000_000)
    parity: Literal["E", "O", "N"] = "E"
    stopbits: Literal[1, 2] = 1


class ModbusTls(Frozen):
    """Both sides prove who they are; PEM files."""

    ca_file: Path = Field(description="who signs the devices' certificates")
    cert_file: Path
    key_file: Path
    server_name: str = Field(default="", description="in the device's certificate, where it is not `host`")


class ModbusLinkConfig(Frozen):
    """One line and the devices on it."""

    protocol: Literal["modbus_tcp", "modbus_tls", "modbus_rtu", "modbus_rtu_tcp"] = "modbus_tcp"
    name: Name
    host: str = ""
    port: int = Field(default=502, ge=1, le=65535)
    serial: SerialLine | None = None
    tls: ModbusTls | None = None
    sole_master: bool = Field(
        default=False, description="RTU: true says that nobody else asks on this line; two masters mix up answers"
    )
    max_connections: int = Field(default=1, ge=1, le=16, description="links that may share host and port")
    poll_period_s: float = Field(default=1.0, gt=0)
    timeout_s: float = Field(default=1.0, gt=0, le=60)
    devices: tuple[ModbusDevice, ...] = Field(min_length=1, max_length=MAX_DEVICES)

    @model_validator(mode="before")
    @classmethod
    def _tls_port(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("protocol") == "modbus_tls":
            return {"port": TLS_PORT} | raw
        return raw

    @model_validator(mode="after")
    def _complete(self) -> "ModbusLinkConfig":
        serial = self.protocol == "modbus_rtu"
        if serial != (self.serial is not None) or serial == bool(self.host):
            raise ValueError("modbus_rtu needs the table serial and no host; every other protocol a host and no serial")
        if (self.protocol == "modbus_tls") != (self.tls is not None):
            raise ValueError("modbus_tls needs the table tls, and no other protocol has it")
        if self.rtu and not self.sole_master:
            raise ValueError("RTU needs sole_master = true: say so where no other master asks on this line")
        if self.timeout_s > max(self.poll_period_s, TIMEOUT_ALLOWED_S):
            raise ValueError(f"timeout_s = {self.timeout_s:g} is longer than poll_period_s = {self.poll_period_s:g}")
        return self

    @model_validator(mode="after")
    def _unique(self) -> "ModbusLinkConfig":
        names = [device.name for device in self.devices]
        ids = [point_id for device in self.devices for point_id in _point_ids(device)]
        for what, given in (("device name", names), ("point", ids)):
            if doubles := sorted({item for item in given if given.count(item) > 1}):
                raise ValueError(f"{what} given twice: {', '.join(doubles)}")
        return self

    @property
    def rtu(self) -> bool:
        """Whether frames have no transaction number, so that only order and time tell a reply from a late one."""
        return self.protocol in RTU_PROTOCOLS

    @property
    def line(self) -> str:
        """The physical line: the serial port, or host and port."""
        return str(self.serial.port) if self.serial is not None else f"{self.host}:{self.port}"

    def wire_time_s(self, registers: int) -> float:
        """How long request and reply for so many registers take on a serial line; 0 elsewhere."""
        if self.serial is None:
            return 0.0
        return (8 + 5 + 2 * registers + 7) * BITS_PER_CHARACTER / self.serial.baudrate


def link_conflicts(links: Sequence[object]) -> Iterator[str]:
    """What is wrong between the Modbus links of one configuration: lines that are shared by accident."""
    lines: dict[str, list[ModbusLinkConfig]] = {}
    for link in links:
        if isinstance(link, ModbusLinkConfig):
            lines.setdefault(link.line, []).append(link)
    for line, sharing in lines.items():
        allowed = 1 if any(link.rtu for link in sharing) else min(link.max_connections for link in sharing)
        if len(sharing) > allowed:
            names = ", ".join(link.name for link in sharing)
            yield (
                f"links {names} share {line}, which takes {allowed}: put their devices into one link"
                + (", or raise max_connections" if not any(link.rtu for link in sharing) else "")
            )


def _point_ids(device: ModbusDevice) -> list[str]:
    return [f"{device.asset}/{register.indicator}" for register in load_template(device.template).registers()]
