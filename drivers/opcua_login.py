"""Before an OPC UA session: know the server, show who the gateway is, and who logs in.  Called by `drivers.opcua`."""

import asyncio
import socket
from datetime import datetime
from pathlib import Path

from drivers.base import Clock
from drivers.opcua_client import ReadOnlyClient
from drivers.opcua_config import OpcuaLinkConfig
from drivers.opcua_identity import OwnIdentity
from drivers.opcua_trust import TrustList

__all__ = ("Login",)


class Login:
    """Of one link, across its connections."""

    def __init__(self, config: OpcuaLinkConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._shown: tuple[bytes, str] | None = None  # certificate and URI of a server that was let in before
        self._tried: tuple[bytes, str] | None = None  # the same, of the attempt that is going on
        self._own_due: datetime | None = None
        self.certificate_expires: datetime | None = None  # the gateway's own

    @property
    def renewal_is_due(self) -> bool:
        """Whether something is to be done about the gateway's own certificate, which `prepare` does."""
        return self._own_due is not None and self._clock.trusted() and self._clock.now() >= self._own_due

    async def prepare(self, client: ReadOnlyClient) -> None:
        """Set a new client up for `connect`; nothing of ours is said to a server that is not trusted.

        Raises Refused for such a server, Misconfigured for bad files, and what asyncua raises for a peer that fails.
        """
        self._tried = await self._secure(client) if self._config.security == "sign_and_encrypt" else None
        if self._config.user is not None:
            await client.log_in_as(self._config.user)

    def succeeded(self) -> None:
        """The session stands: the next one need not ask the server who it is."""
        self._shown = self._tried

    async def _secure(self, client: ReadOnlyClient) -> tuple[bytes, str] | None:
        """Know the server before anything is said to it; returns what it showed, where it was asked."""
        config, shown = self._config, None
        cert_file, key_file, server_cert = config.client_cert_file, config.client_key_file, config.server_cert_file
        known: Path | bytes | None = server_cert
        if config.trust_dir is not None:
            trust, now = TrustList(config.trust_dir), self._clock.now()
            if cert_file is None or key_file is None:
                identity = OwnIdentity(config.trust_dir, config.application_uri, socket.gethostname())
                own = await asyncio.to_thread(identity.current, now, clock_trusted=self._clock.trusted())
                cert_file, key_file, self.certificate_expires = own.cert_file, own.key_file, own.expires
                self._own_due = own.due
            if known is None:
                if self._shown is None:  # asked once, over a connection of its own; it must be the same from then on
                    asking = ReadOnlyClient(config.url, config.timeout_s)
                    self._shown = await asking.offered_certificate(config.policy)
                (der, uri), self._shown = self._shown, None
                known = await asyncio.to_thread(trust.check, der, uri, now)
                shown = (der, uri)
        assert cert_file is not None, "the configuration has been checked"
        assert key_file is not None, "the configuration has been checked"
        assert known is not None, "the configuration has been checked"
        await client.sign_and_encrypt(config.application_uri, config.policy, cert_file, key_file, known)
        return shown
