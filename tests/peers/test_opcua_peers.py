"""OPC UA against node-opcua: a real secure channel of another maker's, and its limit on nodes per request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from drivers.base import Quality, Sample
from drivers.clock import SystemClock
from drivers.errors import Refused, Transient
from drivers.opcua import OpcuaLinkConfig, OpcuaPoint, OpcuaSource

HERE = Path(__file__).parent
CLIENT_URI = "urn:blackstart:test"
POINTS = 25

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def certificates(tmp_path: Path) -> Path:
    for name, uri, usage in (
        ("server", "urn:test:server", ExtendedKeyUsageOID.SERVER_AUTH),
        ("client", CLIENT_URI, ExtendedKeyUsageOID.CLIENT_AUTH),
        ("stranger", "urn:test:server", ExtendedKeyUsageOID.SERVER_AUTH),
    ):
        key, der = tmp_path / f"{name}.key.pem", tmp_path / f"{name}.der"
        await setup_self_signed_certificate(key, der, uri, "localhost", [usage], {"commonName": name})
        pem = x509.load_der_x509_certificate(der.read_bytes()).public_bytes(Encoding.PEM)
        (tmp_path / f"{name}.pem").write_bytes(pem)
    return tmp_path


@pytest.fixture
def source(certificates: Path, free_port: int) -> Callable[..., OpcuaSource]:
    def make(server_cert: str = "server.der", **changes: Any) -> OpcuaSource:
        points = tuple(
            OpcuaPoint(node=f"s=V{number}", asset=f"A{number}", indicator="SIML.Tmp", unit="degC")
            for number in range(POINTS)
        )
        config = OpcuaLinkConfig(
            name="peer",
            url=f"opc.tcp://127.0.0.1:{free_port}/",
            namespace_uri="urn:test:substation",
            application_uri=CLIENT_URI,
            client_cert_file=certificates / "client.der",
            client_key_file=certificates / "client.key.pem",
            server_cert_file=certificates / server_cert,
            timeout_s=10.0,
            points=points,
        )
        return OpcuaSource(config.model_copy(update=changes), SystemClock())

    return make


async def _good(source: OpcuaSource) -> list[Sample]:
    await source.open()
    try:
        samples = await source.read()
        assert {sample.quality for sample in samples} == {Quality.GOOD}
        assert {sample.point_id: sample.value for sample in samples} == {f"A{n}/SIML.Tmp": n / 2 for n in range(POINTS)}
        return samples
    finally:
        await source.close()


async def test_signed_and_encrypted_and_nothing_less(
    npm: Any, start: Any, certificates: Path, free_port: int, source: Callable[..., OpcuaSource]
) -> None:
    await start(npm("node-opcua-server"), HERE / "node_opcua.js", str(free_port), certificates, "500")
    samples = await _good(source())
    assert all(sample.source_time is not None for sample in samples)
    for refused in (source(security="none"), source(server_cert="stranger.der")):
        with pytest.raises((Refused, Transient)):
            await refused.open()


async def test_a_limit_on_nodes_per_read_is_obeyed(
    npm: Any, start: Any, certificates: Path, free_port: int, source: Callable[..., OpcuaSource]
) -> None:
    await start(npm("node-opcua-server"), HERE / "node_opcua.js", str(free_port), certificates, "10")
    await _good(source())
