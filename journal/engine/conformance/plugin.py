"""The six properties of a durable agent as a pytest plugin: one test function, six tests for each workflow.

    pytest_plugins = ("journal.engine.conformance.plugin",)  # in the test module or in the root conftest.py

    async def test_my_agent(durable_property):               # pytest-asyncio or anyio runs it
        await durable_property(Subject(workflow=my_agent, args=("T1",), answers={"verdict": {"code": "D1"}}))

The only module of the engine that imports pytest; nothing imports it.
"""

from collections.abc import Awaitable, Callable

import pytest

from journal.engine.conformance.properties import PROPERTIES, NotOffered, Subject

__all__ = ("durable_property", "pytest_generate_tests")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each property."""
    if "durable_property" in metafunc.fixturenames:
        metafunc.parametrize("durable_property", PROPERTIES, indirect=True)


@pytest.fixture
def durable_property(request: pytest.FixtureRequest) -> Callable[[Subject], Awaitable[None]]:
    """Checks one of the six properties on the subject it is given; skips what the engine does not offer."""
    check = PROPERTIES[request.param]

    async def property_of(subject: Subject) -> None:
        try:
            await check(subject)
        except NotOffered as err:
            pytest.skip(f"{request.param}: {err}")

    return property_of
