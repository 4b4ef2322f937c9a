"""A workflow's source as one hash, kept with each run, so that a changed body is seen before its runs go on."""

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

__all__ = ("code_hash",)


def code_hash(body: Callable[..., Any]) -> str:
    """Hash of a body's source and of the plain functions of its module that it names, and they in turn.

    Empty where there is no source.  It says "look closer", not "incompatible": a comment changes it.
    """
    found: dict[str, str] = {}
    waiting = [body]
    try:
        while waiting:
            one = waiting.pop()
            if isinstance(one, FunctionType) and one.__qualname__ not in found:
                found[one.__qualname__] = textwrap.dedent(inspect.getsource(one))
                named = (one.__globals__.get(name) for name in _names(one.__code__))
                waiting += [f for f in named if isinstance(f, FunctionType) and f.__module__ == body.__module__]
    except OSError:
        return ""
    return hashlib.sha256("\n".join(found[name] for name in sorted(found)).encode()).hexdigest()[:16]


def _names(code: CodeType) -> list[str]:
    """Global names that the code uses, inner functions too."""
    inner = [name for const in code.co_consts if isinstance(const, CodeType) for name in _names(const)]
    return [*code.co_names, *inner]
