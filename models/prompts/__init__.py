"""The frozen frames of what the reasoning core is asked; a model is qualified together with their very bytes.

`<name>.v<n>.txt` holds static text, one `{evidence}` and the turn that the model has to fill.  The static text
comes first so that its computation is shared between questions.  A changed text is a new version: a new file.
"""

import hashlib
from dataclasses import dataclass
from importlib.resources import files

__all__ = ("ARBITRATE_HYPOTHESES", "EXPLAIN_DIAGNOSIS", "Template")

_SLOT = "{evidence}"


@dataclass(frozen=True, slots=True)
class Template:
    """One frame: what stands before and behind the evidence, and the hash of the file."""

    version: str
    prefix: str
    suffix: str
    sha256: str


def _load(version: str) -> Template:
    raw = files(__name__).joinpath(f"{version}.txt").read_bytes()
    prefix, slot, suffix = raw.decode().partition(_SLOT)
    assert slot == _SLOT, f"{version}.txt has no {_SLOT}"
    return Template(version=version, prefix=prefix, suffix=suffix, sha256=hashlib.sha256(raw).hexdigest())


ARBITRATE_HYPOTHESES = _load("arbitrate_hypotheses.v1")
EXPLAIN_DIAGNOSIS = _load("explain_diagnosis.v1")
