"""Nodes by their place in the tree: what a glob finds, what it is told where it finds nothing, and what it may cost."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace

import pytest
import pytest_asyncio
from asyncua import Server, ua
from pydantic import ValidationError

from drivers import opcua_browse
from drivers.base import Quality, Sample
from drivers.clock import SystemClock
from drivers.errors import Refused
from drivers.opcua import OpcuaLinkConfig, OpcuaSource
from drivers.opcua_browse import find

pytestmark = pytest.mark.asyncio(loop_scope="module")

_URI = "urn:test:tree"


class Tree:
    """Objects/Plant/{T1,T2}/Oil/{Top,Bottom}, and Plant/Bay[1]/a/b, a name with all that a pattern is made of."""

    def __init__(self, server: Server, port: int, index: int) -> None:
        self.server, self.port, self.index = server, port, index
        self.nodes: dict[str, ua.NodeId] = {}
        self._folders: dict[str, object] = {}

    async def grow(self) -> None:
        plant = await self.server.nodes.objects.add_folder(self.index, "Plant")
        for name in ("T1", "T2"):
            asset = await plant.add_folder(self.index, name)
            self._folders[name] = await asset.add_folder(self.index, "Oil")
            await self.put(name, "Top", 60.0)
            await self.put(name, "Bottom", 40.0)
        odd = await plant.add_folder(self.index, "Bay[1]")
        await odd.add_variable(self.index, "a/b", 1.0)

    async def put(self, asset: str, name: str, value: float) -> None:
        """A variable; where there was one, another in its place with another id."""
        if old := self.nodes.get(f"{asset}/{name}"):
            await self.server.delete_nodes([self.server.get_node(old)])
        made = await self._folders[asset].add_variable(self.index, name, value)
        self.nodes[f"{asset}/{name}"] = made.nodeid


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tree() -> AsyncIterator[Tree]:
    server = Server()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    tree = Tree(server, port, await server.register_namespace(_URI))
    await tree.grow()
    await server.start()
    yield tree
    await server.stop()


def _config(port: int, *browse: str, **more: object) -> OpcuaLinkConfig:
    points = [
        {"browse": path, "asset": "T1", "indicator": f"MMXU.A{n}", "unit": "-"} | dict(more.pop(f"p{n}", {}))
        for n, path in enumerate(browse)
    ]
    usual = {"name": "bay", "url": f"opc.tcp://127.0.0.1:{port}/", "namespace_uri": _URI, "security": "none"}
    return OpcuaLinkConfig.model_validate(usual | {"points": points} | more)


@pytest_asyncio.fixture(loop_scope="module")
async def opened(tree: Tree) -> AsyncIterator[Callable]:
    sources: list[OpcuaSource] = []

    async def open_(*browse: str, **more: object) -> OpcuaSource:
        source = OpcuaSource(_config(tree.port, *browse, **more), SystemClock())
        sources.append(source)
        await source.open()
        return source

    yield open_
    for source in sources:
        await source.close()


async def _read(source: OpcuaSource) -> list[Sample]:
    latest = {sample.point_id: sample for sample in await source.read()}
    return [latest[point.id] for point in source.points]


async def test_a_glob_finds_what_matches_at_its_level(tree: Tree) -> None:
    source = OpcuaSource(_config(tree.port, "x"), SystemClock())
    answers = await source.browse(
        ["Plant/*", "Plant/T?/Oil/T*", "Plant/T[2-9]/Oil/*", "plant/T1", "Plant/T1/Oil/Top/*"]
    )
    paths = [[found.path for found in answer] if isinstance(answer, list) else answer for answer in answers]
    assert paths == [
        ["Plant/T1", "Plant/T2", "Plant/Bay[[]1]"],
        ["Plant/T1/Oil/Top", "Plant/T2/Oil/Top"],
        ["Plant/T2/Oil/Top", "Plant/T2/Oil/Bottom"],
        "no node matches 'plant/T1': below Objects there is Aliases, Locations, Plant, Server",
        "no node matches 'Plant/T1/Oil/Top/*': below Plant/T1/Oil/Top there is nothing",
    ]


async def test_the_path_that_is_shown_finds_its_node_again(tree: Tree) -> None:
    source = OpcuaSource(_config(tree.port, "x"), SystemClock())
    ((odd,),) = await source.browse(["Plant/Bay*/a*"])
    assert odd.path == "Plant/Bay[[]1]/a?b"
    assert await source.browse([odd.path]) == [[odd]]


async def test_a_point_follows_its_place_to_another_node_at_the_next_connect(tree: Tree, opened: Callable) -> None:
    source = await opened("Plant/T1/Oil/Top")
    before = tree.nodes["T1/Top"]
    assert [sample.value for sample in await _read(source)] == [60.0]
    await source.close()
    await tree.put("T1", "Top", 61.5)
    assert tree.nodes["T1/Top"] != before
    await source.open()
    assert [sample.value for sample in await _read(source)] == [61.5]


async def test_each_point_that_has_no_node_is_bad_and_says_why(opened: Callable) -> None:
    samples = await _read(await opened("Plant/T2/Oil/Top", "Plant/T2/Oil/Hot*", "Plant/T*/Oil/Bottom", "Plant/T2"))
    assert [sample.quality for sample in samples] == [Quality.GOOD, *[Quality.BAD] * 3]
    assert [sample.reason for sample in samples] == [
        "",
        "no node matches 'Plant/T2/Oil/Hot*': below Plant/T2/Oil there is Bottom, Top",
        "'Plant/T*/Oil/Bottom' finds 2 nodes, a point is one: Plant/T1/Oil/Bottom, Plant/T2/Oil/Bottom",
        "Plant/T2 is an object; a point is a variable",
    ]


async def test_two_points_never_read_one_node(opened: Callable) -> None:
    first, second = await _read(await opened("Plant/T2/Oil/T*", "Plant/T2/Oil/?op"))
    assert (first.quality, second.reason) == (Quality.GOOD, "Plant/T2/Oil/Top is read already as T1/MMXU.A0")


@pytest.mark.parametrize("name", ["REFERENCES_MAX", "PAGES_MAX"])
async def test_a_walk_is_bounded(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(opcua_browse, name, 5)
    with pytest.raises(Refused, match="stopped after 5"):
        await find(_Pager(endless=True), ["*"])


async def test_an_answer_in_parts_is_put_together() -> None:
    (found,) = await find(_Pager(), ["*"])
    assert [each.path for each in found] == ["N0", "N1", "N2"]


class _Pager:
    """A server that gives one reference a page; asyncua's own server knows no pages."""

    def __init__(self, *, endless: bool = False) -> None:
        self.uaclient = SimpleNamespace(browse=self._browse, browse_next=self._browse_next)
        self._endless, self._given = endless, 0

    async def limit(self, _: int) -> int:
        return 10

    async def _browse(self, wanted: ua.BrowseParameters) -> list[ua.BrowseResult]:
        assert len(wanted.NodesToBrowse) == 1
        return [self._page()]

    async def _browse_next(self, wanted: ua.BrowseNextParameters) -> list[ua.BrowseResult]:
        assert (wanted.ReleaseContinuationPoints, wanted.ContinuationPoints) == (False, [b"more"])
        return [self._page()]

    def _page(self) -> ua.BrowseResult:
        number, self._given = self._given, self._given + 1
        child = ua.ReferenceDescription(
            NodeId=ua.ExpandedNodeId(number, 2),
            BrowseName=ua.QualifiedName(f"N{number}", 2),
            NodeClass=ua.NodeClass.Variable,
        )
        more = b"more" if self._endless or number < 2 else None
        return ua.BrowseResult(References=[child], ContinuationPoint=more)


@pytest.mark.parametrize(
    "point",
    [{"node": "s=x"}, {"browse": ""}, {"browse": "/".join("a" * 13)}, {"browse": "a//b"}, {"browse": "/a"}],
)
async def test_a_point_has_one_place_and_it_is_bounded(point: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"browse"):
        _config(4840, "a/b", p0=point)


# -- deadband at the server


async def test_the_server_holds_small_changes_back_and_the_verification_brings_them(
    tree: Tree, opened: Callable
) -> None:
    deaf = {"deadband": 2.0, "update_interval_s": 60}
    source = await opened("Plant/T2/Oil/Bottom", server_deadband=True, poll_period_s=0.1, verify_period_s=0.3, p0=deaf)
    await _until_value(source, 40.0)
    node = tree.server.get_node(tree.nodes["T2/Bottom"])
    notified: list[float] = []
    real = source._on_publish

    def on_publish(result: ua.PublishResult) -> None:
        for notification in result.NotificationMessage.NotificationData or ():
            notified.extend(item.Value.Value.Value for item in notification.MonitoredItems)
        real(result)

    callbacks = source._client.uaclient.session._subscription_callbacks
    callbacks.update(dict.fromkeys(callbacks, on_publish))
    for value in (41.0, 47.0):
        await node.write_value(value)
        await _until_value(source, value)
    assert notified == [47.0]
    assert source.missed_count == 0


async def _until_value(source: OpcuaSource, value: float) -> None:
    async with asyncio.timeout(15):
        while True:
            (sample,) = await _read(source)
            if sample.value == value:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "status", [ua.StatusCodes.BadMonitoredItemFilterUnsupported, ua.StatusCodes.BadFilterNotAllowed]
)
async def test_a_server_that_takes_no_deadband_is_asked_without(
    tree: Tree, opened: Callable, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    service = tree.server.iserver.subscription_service
    real, filtered = service.create_monitored_items, []

    async def create(wanted: ua.CreateMonitoredItemsParameters, *more: object) -> list[ua.MonitoredItemCreateResult]:
        filters = [item.RequestedParameters.Filter for item in wanted.ItemsToCreate]
        filtered.append([each.DeadbandValue for each in filters if hasattr(each, "DeadbandValue")])
        if filtered[-1]:
            return [ua.MonitoredItemCreateResult(StatusCode=ua.StatusCode(status)) for _ in filters]
        return await real(wanted, *more)

    monkeypatch.setattr(service, "create_monitored_items", create)
    source = await opened("Plant/T2/Oil/Top", server_deadband=True, p0={"deadband": 2.0})
    assert filtered == [[2.0], []]
    assert [(sample.value, sample.quality) for sample in await _read(source)] == [(60.0, Quality.GOOD)]
