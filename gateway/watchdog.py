"""Liveness: loops report that they came round, and systemd's watchdog is fed while all of them do.

Success of a peer is no condition: a dead broker or a dead device must not restart the daemon.
"""

import os
import socket
from dataclasses import dataclass, field

from drivers.base import Clock

__all__ = ("Heartbeats", "notify")


def notify(state: str) -> bool:
    """Send one sd_notify datagram, for example `READY=1`; False where no service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(state.encode(), address)
        except OSError:  # the manager is restarting itself: the next feed comes in time
            return False
    return True


@dataclass(slots=True)
class Heartbeats:
    """When each loop last came round, and how long it may take."""

    clock: Clock
    _limits_s: dict[str, float] = field(default_factory=dict)
    _last_ns: dict[str, int] = field(default_factory=dict)

    def expect(self, loop: str, within_s: float) -> None:
        """Watch a loop that comes round at least every `within_s` seconds."""
        self._limits_s[loop] = within_s
        self.beat(loop)

    def beat(self, loop: str) -> None:
        """The loop came round."""
        self._last_ns[loop] = self.clock.monotonic_ns()

    def forget(self, loop: str) -> None:
        """The loop ended on purpose."""
        self._limits_s.pop(loop, None)

    def late(self) -> list[str]:
        """Loops that are over their time, worst first."""
        now_ns = self.clock.monotonic_ns()
        over = {name: (now_ns - self._last_ns[name]) / 1e9 - limit for name, limit in self._limits_s.items()}
        return sorted((name for name, by_s in over.items() if by_s > 0), key=lambda name: -over[name])
