"""The configuration: one TOML file into frozen models, and every error of it in one report.

Unknown keys are refused.  `load` is used by `run` and `check-config`; the sample file beside the systemd unit
names every key.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, model_validator

from drivers.agreement import Agreement, agreement_errors
from drivers.base import Frozen, Name
from drivers.errors import Misconfigured
from drivers.modbus_link import ModbusLinkConfig, link_conflicts
from drivers.mqtt import MqttConfig
from drivers.opcua import OpcuaLinkConfig
from drivers.templates import load_template
from gateway.agents.equipment_rules import INDICATORS
from gateway.control import SOCKET_NAME
from models.asset import Asset
from models.core import CoreConfig
from models.dga.accuracy import DEFAULT_ACCURACY, GasAccuracy, accuracy_of
from models.risk import AssetEdge

__all__ = (
    "AlarmConfig",
    "AnomalyModelConfig",
    "Config",
    "GatewayConfig",
    "InvestigationConfig",
    "JournalConfig",
    "gas_accuracy",
    "load",
    "parse",
)

LINK_PROTOCOLS = ("modbus_tcp", "modbus_tls", "modbus_rtu", "modbus_rtu_tcp", "opcua")
STATE_DIR_BYTES_MAX = 107 - len(f"/{SOCKET_NAME}")  # Linux: the path of a Unix socket has at most 107 bytes
CONFIG_BYTES_MAX = 1_000_000  # a gateway with 5,000 points stays far below; a wrong path (a log, a disk) does not


def _with_room_for_a_socket(path: Path) -> Path:
    if len(os.fsencode(path)) > STATE_DIR_BYTES_MAX:
        raise ValueError(f"at most {STATE_DIR_BYTES_MAX} bytes, so that the path of its control socket fits")
    return path


class GatewayConfig(Frozen):
    """The box itself."""

    id: Name
    state_dir: Annotated[Path, AfterValidator(_with_room_for_a_socket)] = Field(
        description="journal, samples and graph; must survive a reboot"
    )
    site: str = Field(default="", max_length=30, description="shown in alarm texts")
    time_factor: float = Field(
        default=1.0, gt=0, le=100_000, description="device seconds per real second; not 1 only before a simulator"
    )


class AnomalyModelConfig(Frozen):
    """A model written by `blackstart train anomaly`."""

    asset: Name
    file: Path


class AlarmConfig(Frozen):
    """Delays of the alarm definitions."""

    clear_after_cycles: int = Field(default=20, ge=1, le=1000, description="healthy measurements before it clears")
    measurement_lost_delay_s: float = Field(default=30.0, ge=0, le=86_400)


class InvestigationConfig(Frozen):
    """Bounds of the deliberate path."""

    verdict_timeout_days: float = Field(default=14.0, gt=0, le=365)
    reinvestigate_after_s: float = Field(default=600.0, ge=0, le=86_400)


class ScadaConfig(Frozen):
    """What SCADA may ask of this gateway over MQTT."""

    commands: Literal["off", "broker_acl"] = Field(
        default="off", description="broker_acl: whoever the broker lets publish on the command topics is trusted"
    )


class MemoryConfig(Frozen):
    """Bounds of the episodic buffer."""

    buffer_bytes: int = Field(default=4_000_000, ge=10_000, le=256_000_000)


class JournalConfig(Frozen):
    """What the journal may keep: the oldest ended runs and events go first, failed runs last, open runs never."""

    max_age_days: float = Field(default=730.0, ge=1, le=36_500, description="counts while the clock is trusted")
    failed_max_age_days: float = Field(default=1825.0, ge=1, le=36_500, description="of runs that failed")
    max_rows: int = Field(default=2_000_000, ge=10_000, le=100_000_000)
    max_bytes: int = Field(default=1_000_000_000, ge=64_000_000, le=1_000_000_000_000, description="of the database")
    disk_low_bytes: int = Field(
        default=256_000_000,
        ge=0,
        le=1_000_000_000_000,
        description="free space below which the journal gives some back",
    )
    export_dir: Path | None = Field(
        default=None, description="what goes is kept here first, as Parquet; else it is gone"
    )

    @model_validator(mode="after")
    def _failed_runs_stay_longer(self) -> "JournalConfig":
        if self.failed_max_age_days < self.max_age_days:
            raise ValueError("failed_max_age_days is below max_age_days; failed runs are kept as long or longer")
        return self


Link: TypeAlias = Annotated[ModbusLinkConfig | OpcuaLinkConfig, Field(discriminator="protocol")]


class Config(Frozen):
    """Everything that one gateway needs to know."""

    gateway: GatewayConfig
    asset: tuple[Asset, ...] = Field(min_length=1, max_length=500)
    link: tuple[Link, ...] = Field(min_length=1, max_length=200)
    mqtt: MqttConfig
    edge: tuple[AssetEdge, ...] = Field(default=(), max_length=5000)
    agreement: tuple[Agreement, ...] = Field(default=(), max_length=5000)
    anomaly_model: tuple[AnomalyModelConfig, ...] = Field(default=(), max_length=500)
    core: CoreConfig = CoreConfig()
    alarm: AlarmConfig = AlarmConfig()
    investigation: InvestigationConfig = InvestigationConfig()
    scada: ScadaConfig = ScadaConfig()
    memory: MemoryConfig = MemoryConfig()
    journal: JournalConfig = JournalConfig()

    @model_validator(mode="after")
    def _lines_have_one_master(self) -> "Config":
        if conflicts := list(link_conflicts(self.link)):
            raise ValueError("; ".join(conflicts))
        return self

    def asset_by_id(self, asset_id: str) -> Asset:
        """The asset of that id; `load` has checked that every reference exists."""
        return next(asset for asset in self.asset if asset.id == asset_id)


def gas_accuracy(config: Config, asset: Asset) -> GasAccuracy:
    """What is stated of the asset's gas monitor, else what is known of its Modbus template, else the default."""
    if asset.gas_accuracy is not None:
        return asset.gas_accuracy
    devices = [device for link in config.link if isinstance(link, ModbusLinkConfig) for device in link.devices]
    known = (accuracy_of(device.template) for device in devices if device.asset == asset.id)
    return next((accuracy for accuracy in known if not accuracy.assumed), DEFAULT_ACCURACY)


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Raises Misconfigured with every error found, one line each: file, key, what is wrong and what would be right.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as err:
        raise Misconfigured(f"{path}: cannot be read: {err.strerror}") from err
    if len(raw) > CONFIG_BYTES_MAX:
        raise Misconfigured(f"{path}: larger than {CONFIG_BYTES_MAX} bytes; is this a configuration file?")
    try:
        return parse(tomllib.loads(raw.decode()), origin=str(path))
    except UnicodeDecodeError as err:
        raise Misconfigured(f"{path}: not UTF-8 text: {err.reason} at byte {err.start}") from err
    except tomllib.TOMLDecodeError as err:
        raise Misconfigured(f"{path}: not valid TOML: {err}") from err


def parse(raw: Mapping[str, Any], origin: str) -> Config:
    """Check a configuration that is already a mapping.  Raises Misconfigured as `load` does."""
    errors = list(_reference_errors(raw))
    config = None
    try:
        config = Config.model_validate(raw)
    except ValidationError as err:
        errors = list(_described(err)) + errors
    else:
        errors += _points_read_twice(config)
        errors += agreement_errors(config.agreement, {p: unit for link in config.link for p, unit in _points(link)})
        errors += _units_not_understood(config)
    if errors or config is None:
        lines = "\n".join(f"  {origin}: {line}" for line in errors)
        raise Misconfigured(f"{len(errors)} error(s) in the configuration:\n{lines}")
    return config


def _described(err: ValidationError) -> Iterator[str]:
    details = err.errors(include_url=False)
    keys = [_key(detail["loc"]) for detail in details]
    for key, detail in zip(keys, details, strict=True):
        follows = detail["type"] == "too_short" and any(other.startswith(f"{key}.") for other in keys)
        if not follows:  # a list of which every item is wrong is not "too short" as well
            yield _describe(key, detail)


def _key(location: tuple[int | str, ...]) -> str:
    """The key as it stands in the file: without the name of the variant that pydantic tried."""
    return ".".join(str(part) for part in location if part not in LINK_PROTOCOLS)


def _describe(key: str, detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or mend its spelling"
    if detail["type"] == "missing":
        return f"{key}: is missing and has no default"
    if detail["type"] == "union_tag_not_found":
        return f"{key}.protocol: is missing; one of {', '.join(LINK_PROTOCOLS)}"
    if detail["type"] == "union_tag_invalid":
        return f"{key}.protocol: one of {', '.join(LINK_PROTOCOLS)} (found {detail['ctx']['tag'][:80]!r})"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{key}: {message} (found {str(detail['input'])[:80]!r})"


def _tables(raw: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The tables of an array, whatever else stands there: the types are checked by the models."""
    value = raw.get(key)
    return [table for table in value if isinstance(table, Mapping)] if isinstance(value, list) else []


def _reference_errors(raw: Mapping[str, Any]) -> Iterator[str]:
    """Checks across tables, on the raw mapping so that they are reported beside errors of type."""
    known = {str(asset["id"]) for asset in _tables(raw, "asset") if "id" in asset}
    choices = ", ".join(sorted(known)) or "none"
    for array, key in (("asset", "id"), ("link", "name"), ("anomaly_model", "asset")):
        yield from _repeated(array, key, _tables(raw, array))
    for key, asset in _asset_references(raw):
        if asset not in known:
            yield f"{key}: no asset {asset!r}; configured are: {choices}"
    for index, table in enumerate(_tables(raw, "anomaly_model")):
        if "file" in table and not Path(str(table["file"])).is_file():
            yield f"anomaly_model.{index}.file: {table['file']} does not exist; make it with `blackstart train anomaly`"


def _asset_references(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for number, link in enumerate(_tables(raw, "link")):
        for part in ("devices", "points"):
            for index, table in enumerate(_tables(link, part)):
                if "asset" in table:
                    yield f"link.{number}.{part}.{index}.asset", str(table["asset"])
    for index, edge in enumerate(_tables(raw, "edge")):
        for end in ("from_asset", "to_asset"):
            if end in edge:
                yield f"edge.{index}.{end}", str(edge[end])
    for index, table in enumerate(_tables(raw, "anomaly_model")):
        if "asset" in table:
            yield f"anomaly_model.{index}.asset", str(table["asset"])


def _repeated(array: str, key: str, tables: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    values = [table.get(key) for table in tables]
    for index, value in enumerate(values):
        if value is not None and value in values[:index]:
            yield f"{array}.{index}.{key}: {value!r} is used twice; it must be unique"


def _points_read_twice(config: Config) -> Iterator[str]:
    """Two sources of one point would mix their values in one window."""
    source_of: dict[str, str] = {}
    for number, link in enumerate(config.link):
        for point, _ in _points(link):
            if point in source_of:
                yield f"link.{number}: {point} is read by link {source_of[point]!r} already; leave one of them out"
            source_of.setdefault(point, link.name)


def _units_not_understood(config: Config) -> Iterator[str]:
    """A pressure in `bar` could be absolute or gauge: no method would use it, and nobody would notice."""
    for number, link in enumerate(config.link):
        if isinstance(link, OpcuaLinkConfig):
            for index, point in enumerate(link.points):
                units = INDICATORS.get(point.indicator, (point.unit,))
                if point.unit not in units:
                    key = f"link.{number}.points.{index}.unit"
                    yield f"{key}: {point.indicator} is in {' or '.join(units)} (found {point.unit!r})"


def _points(link: Link) -> Iterator[tuple[str, str]]:
    """Every point with its unit."""
    if isinstance(link, OpcuaLinkConfig):
        yield from ((f"{point.asset}/{point.indicator}", point.unit) for point in link.points)
    else:
        for device in link.devices:
            registers = load_template(device.template).registers()
            yield from ((f"{device.asset}/{register.indicator}", register.unit) for register in registers)
