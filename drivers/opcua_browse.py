"""OPC UA nodes by their place in the server's tree: globs of browse names in, nodes out.  Called by `drivers.opcua`.

`Plant/T1*/Oil/Top?` goes from the Objects folder along hierarchical references, one browse name a segment, with the
wildcards `* ? [abc]`, capitals counted.  A segment never spans two levels, so that a walk reads what its pattern
names and no more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from asyncua import ua
from asyncua.ua.object_ids import ObjectIds

from drivers.errors import Refused
from drivers.opcua_client import ReadOnlyClient
from drivers.opcua_config import OpcuaPoint

__all__ = ("REFERENCES_MAX", "Found", "find", "resolve")

REFERENCES_MAX = 20_000  # read in one walk; a glob that needs more names half the server
PAGES_MAX = 1_000  # answers that continue another one, in one walk
NAMED_MAX = 5  # in the reason why nothing matches
_CLASSES = ua.NodeClass.Object | ua.NodeClass.Variable
_PER_BROWSE = ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse
_ALL = 63  # the result mask of OPC 10000-4, 5.9.2: all that a reference can say
_ESCAPES = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]", "/": "?"})


@dataclass(frozen=True, slots=True)
class Found:
    """A node and the way to it, written as a pattern that finds it."""

    path: str
    node_id: ua.NodeId
    is_variable: bool


@dataclass(slots=True)
class _Walk:
    """The children that one walk has read; each node is asked once, whatever patterns meet there."""

    client: ReadOnlyClient
    per_request: int
    children: dict[ua.NodeId, list[ua.ReferenceDescription]] = field(default_factory=dict)
    reference_count: int = 0
    page_count: int = 0

    async def read(self, nodes: Iterable[ua.NodeId]) -> None:
        """Read the children of the nodes that are not known yet."""
        missing = [node for node in dict.fromkeys(nodes) if node not in self.children]
        for start in range(0, len(missing), self.per_request):
            chunk = missing[start : start + self.per_request]
            results = await self.client.uaclient.browse(ua.BrowseParameters(NodesToBrowse=[_down(n) for n in chunk]))
            for node, result in zip(chunk, results, strict=True):
                self._keep(node, result)
                while result.ContinuationPoint:
                    result = await self._next_page(result.ContinuationPoint)  # noqa: PLW2901 - the next part of it
                    self._keep(node, result)

    async def _next_page(self, point: bytes) -> ua.BrowseResult:
        self.page_count += 1
        if self.page_count > PAGES_MAX:
            raise Refused(f"browsing was stopped after {PAGES_MAX} pages: give the patterns fewer wildcards")
        wanted = ua.BrowseNextParameters(ReleaseContinuationPoints=False, ContinuationPoints=[point])
        (result,) = await self.client.uaclient.browse_next(wanted)
        return result

    def _keep(self, node: ua.NodeId, result: ua.BrowseResult) -> None:
        children = self.children.setdefault(node, [])
        children += result.References or []
        self.reference_count += len(result.References or [])
        if self.reference_count > REFERENCES_MAX:
            raise Refused(f"browsing was stopped after {REFERENCES_MAX} nodes: give the patterns fewer wildcards")


async def find(client: ReadOnlyClient, patterns: Sequence[str]) -> list[list[Found] | str]:
    """For each pattern the nodes that it finds, or why there is none.

    Raises Refused where the walk is too long, and what asyncua raises for a peer that fails.
    """
    walk = _Walk(client, await client.limit(_PER_BROWSE))
    start = [Found("", ua.NodeId(ua.Int32(ObjectIds.ObjectsFolder)), is_variable=False)]
    fronts: list[list[Found] | str] = [start for _ in patterns]
    ways = [pattern.split("/") for pattern in patterns]
    for depth in range(max((len(way) for way in ways), default=0)):
        going = [number for number, way in enumerate(ways) if depth < len(way) and not isinstance(fronts[number], str)]
        await walk.read(found.node_id for number in going for found in fronts[number] if isinstance(found, Found))
        for number in going:
            front = fronts[number]
            assert not isinstance(front, str), "only patterns that still match are going on"
            fronts[number] = _step(walk, front, ways[number][depth]) or _why(walk, front, patterns[number])
    return fronts


async def resolve(
    client: ReadOnlyClient, points: Sequence[OpcuaPoint], namespace: int
) -> tuple[list[ua.NodeId], dict[int, str]]:
    """The node of each point, and for those that have none the reason by index (their node is the null one)."""
    nodes = [ua.NodeId.from_string(f"ns={namespace};{p.node}") if p.node else ua.NodeId() for p in points]
    wanted = [index for index, point in enumerate(points) if point.browse]
    if not wanted:
        return nodes, {}
    reasons: dict[int, str] = {}
    owner = {node: index for index, node in enumerate(nodes) if points[index].node}
    for index, found in zip(wanted, await find(client, [points[index].browse for index in wanted]), strict=True):
        reason = _unfit(found, points[index])
        if not reason and not isinstance(found, str):
            other = owner.setdefault(found[0].node_id, index)
            nodes[index] = found[0].node_id if other == index else ua.NodeId()
            if other != index:
                reason = f"{found[0].path} is read already as {points[other].asset}/{points[other].indicator}"
        if reason:
            reasons[index] = reason
    return nodes, reasons


def _unfit(found: list[Found] | str, point: OpcuaPoint) -> str:
    if isinstance(found, str):
        return found
    if len(found) > 1:
        names = ", ".join(each.path for each in found[:NAMED_MAX])
        return f"{point.browse!r} finds {len(found)} nodes, a point is one: {names}"
    return "" if found[0].is_variable else f"{found[0].path} is an object; a point is a variable"


def _step(walk: _Walk, front: Sequence[Found], segment: str) -> list[Found]:
    matching: dict[ua.NodeId, Found] = {}
    for parent in front:
        for child in walk.children[parent.node_id]:
            name = child.BrowseName.Name or ""
            if fnmatchcase(name, segment):
                node_id = _local(child.NodeId)
                path = f"{parent.path}/{name.translate(_ESCAPES)}".lstrip("/")
                matching.setdefault(node_id, Found(path, node_id, child.NodeClass == ua.NodeClass.Variable))
    return list(matching.values())


def _why(walk: _Walk, front: Sequence[Found], pattern: str) -> str:
    names = sorted({child.BrowseName.Name or "" for parent in front for child in walk.children[parent.node_id]})
    there = ", ".join(names[:NAMED_MAX]) + (f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else "")
    return f"no node matches {pattern!r}: below {front[0].path or 'Objects'} there is {there or 'nothing'}"


def _down(node: ua.NodeId) -> ua.BrowseDescription:
    return ua.BrowseDescription(
        NodeId=node,
        BrowseDirection=ua.BrowseDirection.Forward,
        ReferenceTypeId=ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences)),
        IncludeSubtypes=True,
        NodeClassMask=ua.UInt32(_CLASSES),
        ResultMask=ua.UInt32(_ALL),
    )


def _local(node: ua.NodeId) -> ua.NodeId:
    """An ExpandedNodeId of the same server as the plain one: they do not compare equal."""
    return ua.NodeId(node.Identifier, node.NamespaceIndex, node.NodeIdType)
