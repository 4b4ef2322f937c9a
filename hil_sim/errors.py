"""The one error that a person at the simulator's command line can meet."""

__all__ = ("SimError",)


class SimError(Exception):
    """A scenario, a data file or a command is wrong; the message says where and what would be right."""
