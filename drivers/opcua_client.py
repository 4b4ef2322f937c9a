"""An asyncua client that can only read and subscribe, and its errors in our terms.  Called by `drivers.opcua`.

Every request of a client passes `_ReadOnlyProtocol._send_request` on its way to the socket; whatever is not in
`ALLOWED_REQUESTS` is refused there, before a byte leaves.
"""

import asyncio
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UaClientState, UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.common.shortcuts import Shortcuts
from asyncua.crypto.security_policies import (
    SecurityPolicy,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography.exceptions import InvalidSignature

from drivers.errors import Misconfigured, Refused, Transient
from drivers.opcua_config import OpcuaUser

__all__ = ("ALLOWED_REQUESTS", "PEER_FAILURES", "ReadOnlyClient", "translated")

SESSION_TIMEOUT_MS = 60_000  # a cut leaves a session behind, and small servers have ten of them

NODES_PER_REQUEST = 500  # or fewer, where the server's OperationLimits say so
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # far more than an answer for 500 nodes; a hostile length field costs no more
MAX_CHUNKS = 256  # parts of one message
POLICIES: dict[str, type[SecurityPolicy]] = {
    "Basic256Sha256": SecurityPolicyBasic256Sha256,
    "Aes256Sha256RsaPss": SecurityPolicyAes256Sha256RsaPss,
}

ALLOWED_REQUESTS: frozenset[type] = frozenset(
    {
        ua.OpenSecureChannelRequest,
        ua.CloseSecureChannelRequest,
        ua.GetEndpointsRequest,
        ua.CreateSessionRequest,
        ua.ActivateSessionRequest,
        ua.CloseSessionRequest,
        ua.BrowseRequest,
        ua.BrowseNextRequest,
        ua.ReadRequest,
        ua.HistoryReadRequest,
        ua.CreateSubscriptionRequest,
        ua.DeleteSubscriptionsRequest,
        ua.CreateMonitoredItemsRequest,
        ua.PublishRequest,
    }
)

# What asyncua raises for a peer that is away, says no, or sends bytes that mean nothing.
PEER_FAILURES = (
    UaError,
    OSError,
    TimeoutError,
    InvalidSignature,
    struct.error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,  # asyncua, where a server cuts the line while the channel is opened
)

# Answers that repeating the same request will not change.
_FOR_GOOD = frozenset(
    {
        StatusCodes.BadCertificateInvalid,
        StatusCodes.BadCertificateTimeInvalid,
        StatusCodes.BadCertificateRevoked,
        StatusCodes.BadCertificateUntrusted,
        StatusCodes.BadCertificateUriInvalid,
        StatusCodes.BadCertificateUseNotAllowed,
        StatusCodes.BadIdentityTokenInvalid,
        StatusCodes.BadIdentityTokenRejected,
        StatusCodes.BadSecurityChecksFailed,
        StatusCodes.BadSecurityModeRejected,
        StatusCodes.BadSecurityPolicyRejected,
        StatusCodes.BadUserAccessDenied,
    }
)


class _Limits(TransportLimits):
    """Limits that the server can narrow but not widen; asyncua takes over whatever the server says."""

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        super().update_client_limits(msg)
        self.max_message_size = min(self.max_message_size or MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES)
        self.max_chunk_count = min(self.max_chunk_count or MAX_CHUNKS, MAX_CHUNKS)


class _ReadOnlyProtocol(UASocketProtocol):
    """The socket's protocol, narrowed to the requests that read and to a bounded message."""

    def data_received(self, data: bytes) -> None:
        if self.transport is not None and len(self.receive_buffer or b"") > MAX_MESSAGE_BYTES:
            self.transport.abort()
            return
        super().data_received(data)

    def _send_request(
        self, request: Any, timeout: float = 1, message_type: Any = ua.MessageType.SecureMessage
    ) -> asyncio.Future[Any]:
        if type(request) not in ALLOWED_REQUESTS:
            raise Refused(f"Blackstart only reads: an OPC UA {type(request).__name__} was stopped")
        return super()._send_request(request, timeout, message_type)


class _ReadOnlyUaClient(UaClient):
    """asyncua's transport, on `_ReadOnlyProtocol`."""

    def _make_protocol(self) -> UASocketProtocol:
        usual = super()._make_protocol()  # sets the hooks, which move over to ours
        self.protocol = _ReadOnlyProtocol(self._timeout, self.security_policy, _Limits())
        self.protocol.pre_request_hook = usual.pre_request_hook
        self.protocol.on_connection_lost = usual.on_connection_lost
        self.protocol.is_session_closing = usual.is_session_closing
        return self.protocol


class ReadOnlyClient(Client):
    """One connection: never reconnects by itself, is used once and thrown away."""

    def __init__(self, url: str, timeout_s: float) -> None:
        # The library's health probe times out after watchdog_intervall: shorter than the request time-out, it
        # would tear down a link that is merely slow.
        super().__init__(url, timeout=timeout_s, watchdog_intervall=2 * timeout_s, auto_reconnect=False)
        self.uaclient = _ReadOnlyUaClient(timeout_s)
        self.uaclient.pre_request_hook = self._wait_until_ready
        self.nodes = Shortcuts(self.uaclient.session)
        self.name = self.description = "Blackstart"
        self.session_timeout = SESSION_TIMEOUT_MS
        self._timeout_s = timeout_s

    @property
    def alive(self) -> bool:
        """Whether the session stands, as far as the socket knows."""
        return self.uaclient.state is UaClientState.CONNECTED

    async def offered_certificate(self, policy: str) -> tuple[bytes, str]:
        """The certificate and application URI that the server shows to anyone; to be judged before it is used.

        Uses up this client.  Raises Refused where the server does not offer the policy with SignAndEncrypt.
        """
        for endpoint in await self.connect_and_get_server_endpoints():
            as_wanted = endpoint.SecurityMode is ua.MessageSecurityMode.SignAndEncrypt
            if as_wanted and endpoint.SecurityPolicyUri == POLICIES[policy].URI:
                return endpoint.ServerCertificate or b"", endpoint.Server.ApplicationUri or ""
        raise Refused(f"the server does not offer {policy} with SignAndEncrypt")

    async def sign_and_encrypt(
        self, application_uri: str, policy: str, cert_file: Path, key_file: Path, server_cert: Path | bytes
    ) -> None:
        """Prepare mode SignAndEncrypt with the server's certificate pinned.

        `application_uri` is the one in the client's certificate.  Raises Misconfigured where a file is missing or
        is not what it should be.
        """
        self.application_uri = application_uri
        try:
            await self.set_security(
                POLICIES[policy],
                str(cert_file),
                str(key_file),
                server_certificate=server_cert if isinstance(server_cert, bytes) else str(server_cert),
                mode=ua.MessageSecurityMode.SignAndEncrypt,
            )
        except (OSError, ValueError, TypeError) as err:
            raise Misconfigured(f"OPC UA certificates: {err}") from err

    async def log_in_as(self, user: OpcuaUser) -> None:
        """Prepare the user's identity.  Raises Misconfigured where a file is missing or not what it should be."""
        try:
            if user.password_file is not None:
                self.set_user(user.name)
                password = await asyncio.to_thread(user.password_file.read_text, encoding="utf-8")
                self.set_password(password.strip())
            else:
                assert user.cert_file is not None
                assert user.key_file is not None
                await self.load_client_certificate(str(user.cert_file))
                await self.load_private_key(user.key_file)
        except (OSError, ValueError, TypeError) as err:
            raise Misconfigured(f"OPC UA user: {err}") from err

    async def value_of(self, node: int) -> object:
        """The value of a node of the standard's own namespace; None where the server does not have it."""
        wanted = [ua.ReadValueId(NodeId=ua.NodeId(ua.Int32(node)), AttributeId=AttributeIds.Value)]
        found = await self.uaclient.read(ua.ReadParameters(NodesToRead=wanted))
        return found[0].Value.Value if found and found[0].Value is not None else None

    async def limit(self, node: int) -> int:
        """How many nodes one request may have: the server's limit where it states one, and never more than ours."""
        limit = await self.value_of(node)
        return min(limit, NODES_PER_REQUEST) if isinstance(limit, int) and limit > 0 else NODES_PER_REQUEST

    async def hang_up(self) -> None:
        """Say goodbye if the peer still listens, within two time-outs; then drop the socket in any case."""
        protocol = self.uaclient.protocol
        transport = protocol.transport if protocol is not None else None
        with suppress(*PEER_FAILURES):
            async with asyncio.timeout(2 * self._timeout_s):
                await self.disconnect()
        if transport is not None:
            transport.abort()


def translated(where: str, err: BaseException) -> Refused | Transient:
    """The same failure as one of our errors; the caller raises it `from err`."""
    text = f"{where}: {type(err).__name__}: {err}"
    # A bare UaError is the client's own verdict: another certificate than the pinned one, no endpoint as asked for.
    for_good = err.code in _FOR_GOOD if isinstance(err, UaStatusCodeError) else type(err) is UaError
    return Refused(text) if for_good else Transient(text)
