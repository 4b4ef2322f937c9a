"""The configuration of one OPC UA link.  Read by `gateway.config`; used by `drivers.opcua`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from drivers.base import Frozen, Name

__all__ = ("OpcuaLinkConfig", "OpcuaPoint", "OpcuaUser")

DEPTH_MAX = 12  # levels of a browse path
MAX_POINTS = 5000  # asyncua decodes about 15,000 values a second on a Pi


class OpcuaPoint(Frozen):
    """One node of the server and the point that it feeds.  Out of `low`…`high` is BAD.

    The node is given by its identifier, or by its place in the tree, which is looked up at each connect.
    """

    node: str = Field(
        default="", pattern=r"^([sigb]=.+)?$", max_length=512, description="identifier within the link's namespace"
    )
    browse: str = Field(
        default="",
        pattern=rf"^([^/]+(/[^/]+){{0,{DEPTH_MAX - 1}}})?$",
        max_length=512,
        description="browse names from the Objects folder on, with * ? [abc]; must find one variable",
    )
    asset: Name
    indicator: str = Field(pattern=r"^[A-Z]{4}\.[A-Za-z][A-Za-z0-9]{0,31}$")
    unit: str
    update_interval_s: float = Field(default=60.0, gt=0)
    expected_constant: bool = False
    low: float | None = None
    high: float | None = None
    deadband: float = Field(default=0.0, ge=0, description="changes up to this are not stored")
    max_rate_per_s: float | None = Field(default=None, gt=0, description="a faster change is doubted")
    frozen_after_cycles: int = Field(default=0, ge=0, description="identical measurements until doubted; 0: never")
    agrees_with: str = Field(default="", description="indicator of the same asset that measures the same thing")
    agreement: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _one_place(self) -> "OpcuaPoint":
        if bool(self.node) == bool(self.browse):
            raise ValueError('a point has either node = "s=…" or browse = "Plant/T1*/TopOil"; see `blackstart browse`')
        return self


class OpcuaUser(Frozen):
    """Who logs in: a name with a password, or a certificate with its key."""

    name: str = ""
    password_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "OpcuaUser":
        by_name = bool(self.name) and self.password_file is not None
        by_certificate = self.cert_file is not None and self.key_file is not None
        given = sum(bool(value) for value in (self.name, self.password_file, self.cert_file, self.key_file))
        if by_name == by_certificate or given != 2:  # noqa: PLR2004 - either pair, and nothing of the other
            raise ValueError("a user has either name and password_file, or cert_file and key_file")
        return self


class OpcuaLinkConfig(Frozen):
    """One OPC UA server.

    The server is known by its pinned certificate (`server_cert_file`), or by a folder of trusted ones (`trust_dir`),
    where the gateway's own certificate is made and kept as well.  Certificates are PEM or DER files.
    """

    protocol: Literal["opcua"] = "opcua"
    name: Name
    url: str = Field(pattern=r"^opc\.tcp://(\[[0-9A-Fa-f:]+\]|[^/:@]+):\d{1,5}(/.*)?$")
    namespace_uri: str = Field(min_length=1)
    security: Literal["none", "sign_and_encrypt"] = "sign_and_encrypt"
    policy: Literal["Basic256Sha256", "Aes256Sha256RsaPss"] = "Basic256Sha256"
    application_uri: str = Field(default="urn:blackstart", description="as in the client's certificate")
    client_cert_file: Path | None = None
    client_key_file: Path | None = None
    server_cert_file: Path | None = None
    trust_dir: Path | None = None
    user: OpcuaUser | None = None
    history: bool = Field(default=True, description="fill gaps from the server's history where it keeps one")
    server_deadband: bool = Field(
        default=False, description="let the server hold back changes within a point's deadband, where it can"
    )
    poll_period_s: float = Field(default=1.0, gt=0)
    timeout_s: float = Field(default=4.0, gt=0, le=60)
    verify_period_s: float = Field(default=30.0, gt=0)
    points: tuple[OpcuaPoint, ...] = Field(min_length=1, max_length=MAX_POINTS)

    @model_validator(mode="after")
    def _complete(self) -> "OpcuaLinkConfig":
        if self.security == "none" and self.user is not None:
            raise ValueError('a user needs security "sign_and_encrypt": without it the password travels in the open')
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("client_cert_file and client_key_file belong together")
        if self.security == "sign_and_encrypt" and self.trust_dir is None:
            needed = ("client_cert_file", "client_key_file", "server_cert_file")
            if missing := [name for name in needed if getattr(self, name) is None]:
                raise ValueError(
                    f'security "sign_and_encrypt" needs trust_dir, or {", ".join(missing)}; or allow "none" explicitly'
                )
        for what, given in (
            ("node", [point.node or point.browse for point in self.points]),
            ("point", [f"{point.asset}/{point.indicator}" for point in self.points]),
        ):
            if len(set(given)) < len(given):
                doubles = sorted({item for item in given if given.count(item) > 1})
                raise ValueError(f"{what} given twice: {', '.join(doubles)}")
        return self
