"""What an OPC UA server says of itself: its state and its clock.  Called by `drivers.opcua` at each verification.

A server that is suspended, or whose clock stands still, vouches for none of its values.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from drivers.base import Clock, Quality, Sample
from drivers.opcua_client import ReadOnlyClient
from drivers.opcua_values import utc

__all__ = ("ServerHealth",)

CLOCK_STANDS_S = 5.0  # servers renew their CurrentTime about once a second
_STATES = frozenset(ua.ServerState)


@dataclass(slots=True)
class ServerHealth:
    """Of one connection; a new one begins without doubts."""

    doubt: str = ""  # what the server says against all its values
    test: bool = False  # the server is in its test state
    clock_skew_s: float | None = None  # server minus gateway
    _time: datetime | None = None
    _time_ns: int = 0  # when it was first seen

    async def examine(self, client: ReadOnlyClient, clock: Clock) -> None:
        """Ask the server; raises what asyncua raises for a peer that fails."""
        state = await client.value_of(ObjectIds.Server_ServerStatus_State)
        stamp = await client.value_of(ObjectIds.Server_ServerStatus_CurrentTime)
        server_time = utc(stamp) if isinstance(stamp, datetime) else None
        now_ns = clock.monotonic_ns()
        if server_time != self._time:
            self._time, self._time_ns = server_time, now_ns
        stands = server_time is not None and now_ns - self._time_ns > CLOCK_STANDS_S * 1e9
        if server_time is not None:
            self.clock_skew_s = (server_time - clock.now()).total_seconds()
        self.test = state == ua.ServerState.Test
        running = state in (None, ua.ServerState.Running, ua.ServerState.Test)
        if not running:
            name = ua.ServerState(state).name if isinstance(state, int) and state in _STATES else str(state)
            self.doubt = f"the server's state is {name}"
        else:
            self.doubt = "the server's clock stands still" if stands else ""

    def doubted(self, sample: Sample) -> Sample:
        """The sample with what speaks against the server as a whole."""
        if self.test:
            sample = replace(sample, test=True)
        if self.doubt and sample.quality is Quality.GOOD:
            sample = replace(sample, quality=Quality.UNCERTAIN, reason=self.doubt)
        return sample
