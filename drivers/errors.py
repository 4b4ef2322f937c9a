"""The error tree of all folders, named by the reaction each error calls for.

BlackstartError
├── Transient        try again later, with a bound: a peer is away, slow or busy
│   └── NotStarted   as Transient, and the effect is known not to have begun
├── Refused          the peer said no for good: show it to a person, do not repeat
├── Misconfigured    a person must mend the configuration: exit code 78
├── BadInput         what was handed in is wrong: tell whoever handed it in
└── Fatal            stop the process and let the service manager start it again: exit code 70
"""

__all__ = ("BadInput", "BlackstartError", "Fatal", "Misconfigured", "NotStarted", "Refused", "Transient")


class BlackstartError(Exception):
    """Root of every error that Blackstart raises on purpose."""


class Transient(BlackstartError):
    """The peer is away, slow or busy; trying again later may succeed."""


class NotStarted(Transient):
    """The effect is known not to have begun, so that trying again cannot double it."""


class Refused(BlackstartError):
    """The peer refused for a permanent reason; repeating the same request is useless."""


class Misconfigured(BlackstartError):
    """The configuration is wrong; the message names file, key and what would be right."""


class BadInput(BlackstartError):
    """Data handed in by a person or a program is wrong; nothing was accepted."""


class Fatal(BlackstartError):
    """The process cannot go on; the service manager restarts it and the journal resumes."""
