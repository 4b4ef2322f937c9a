"""What a server remembers of the time when the link was down: raw values of each point, oldest first.

A gap begins at the last value that came in and ends at the first one after the link was back.  Servers without a
history say so once per connection and are not asked again.  Called by `drivers.opcua`, a few nodes at each read.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from asyncua import ua
from asyncua.ua.uaerrors import UaStatusCodeError

from drivers.opcua_client import ReadOnlyClient

__all__ = ("Gaps",)

NODES_PER_REQUEST = 20  # so that a poll is not held up by years of history
VALUES_PER_NODE = 1000  # per request
REQUESTS_PER_NODE = 10
LONGEST_GAP = timedelta(days=7)

_log = logging.getLogger(__name__)


class Gaps:
    """Points of which values are missing, by index, with the time of the last value that came in."""

    def __init__(self, link: str) -> None:
        self._link = link
        self._since: dict[int, datetime] = {}
        self.filled_count = 0
        self.cut_count = 0  # points of which more was missing than is asked for

    def __bool__(self) -> bool:
        return bool(self._since)

    def note(self, last: Mapping[int, datetime]) -> None:
        """The link was lost; a gap that is still open keeps its beginning."""
        self._since = dict(last) | self._since

    def forget(self) -> None:
        """The server keeps no history."""
        self._since = {}

    async def next(
        self, client: ReadOnlyClient, nodes: Sequence[ua.NodeId], until: Mapping[int, datetime]
    ) -> list[tuple[int, ua.DataValue]]:
        """Values of the next few points, by the point's index; `until` has the first live value of each.

        A point without a live value waits.  Raises what asyncua raises for a link that fails.
        """
        ready = [index for index in self._since if index in until][:NODES_PER_REQUEST]
        for index in [index for index in ready if self._since[index] >= until[index]]:
            del self._since[index]  # nothing can be between
            ready.remove(index)
        if not ready:
            return []
        begin = min(max(self._since[index], until[index] - LONGEST_GAP) for index in ready)
        end = max(until[index] for index in ready)
        try:
            found = await self._read(client, {index: nodes[index] for index in ready}, begin, end)
        except UaStatusCodeError as err:
            _log.info("%s: no history: %s", self._link, err)
            self.forget()
            return []
        values = [
            (index, value)
            for index, value in found
            if value.SourceTimestamp is not None and self._since[index] < value.SourceTimestamp < until[index]
        ]
        for index in ready:
            del self._since[index]
        self.filled_count += len(values)
        return values

    async def _read(
        self, client: ReadOnlyClient, nodes: dict[int, ua.NodeId], begin: datetime, end: datetime
    ) -> list[tuple[int, ua.DataValue]]:
        details = ua.ReadRawModifiedDetails(
            IsReadModified=False,
            StartTime=ua.DateTime.fromtimestamp(begin.timestamp(), begin.tzinfo),
            EndTime=ua.DateTime.fromtimestamp(end.timestamp(), end.tzinfo),
            NumValuesPerNode=ua.UInt32(VALUES_PER_NODE),
            ReturnBounds=False,
        )
        found: list[tuple[int, ua.DataValue]] = []
        asked: dict[int, ua.HistoryReadValueId] = {
            index: ua.HistoryReadValueId(NodeId=node) for index, node in nodes.items()
        }
        for _ in range(REQUESTS_PER_NODE):
            results = await self._request(client, details, asked, release=False)
            more: dict[int, ua.HistoryReadValueId] = {}
            for (index, wanted), result in zip(asked.items(), results, strict=True):
                values = getattr(result.HistoryData, "DataValues", None)
                if result.StatusCode.is_bad() or not values:
                    continue
                found += [(index, value) for value in values[:VALUES_PER_NODE]]
                if result.ContinuationPoint:
                    more[index] = ua.HistoryReadValueId(
                        NodeId=wanted.NodeId, ContinuationPoint=result.ContinuationPoint
                    )
            asked = more
            if not asked:
                return found
        self.cut_count += len(asked)
        await self._request(client, details, asked, release=True)
        return found

    async def _request(
        self,
        client: ReadOnlyClient,
        details: ua.ReadRawModifiedDetails,
        asked: Mapping[int, ua.HistoryReadValueId],
        *,
        release: bool,
    ) -> Sequence[ua.HistoryReadResult]:
        results = await client.uaclient.history_read(
            ua.HistoryReadParameters(
                HistoryReadDetails=details,
                TimestampsToReturn=ua.TimestampsToReturn.Both,
                ReleaseContinuationPoints=release,
                NodesToRead=list(asked.values()),
            )
        )
        if not release and len(results) != len(asked):
            raise ValueError(f"{len(results)} histories for {len(asked)} nodes")
        return results
