"""The contract of a durable agent, checked on any workflow; `properties` says what it asks, `plugin` is for pytest."""

from journal.engine.conformance.properties import PROPERTIES, Broken, NotOffered, Subject

__all__ = ("PLUGIN", "PROPERTIES", "Broken", "NotOffered", "Subject")

PLUGIN = "journal.engine.conformance.plugin"
"""For `pytest_plugins`, or `pytest -p`."""
