"""The words between the daemon and the reasoning core's process: framed MessagePack over one inherited socket.

A frame is a big-endian u32 length, at most `MAX_FRAME_BYTES`, and one MessagePack map.  Neither side trusts the
other: a frame that is too long, is not MessagePack or does not fit its type raises `BadFrame`.  Every request is
answered by exactly one reply with the same `id`.  Used by `models.core` (client) and `models.core_worker` (server).
Durations in seconds, log-likelihoods in nats.
"""

import struct
from typing import Annotated, Any, Literal, TypeAlias

import msgpack
from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from drivers.base import Frozen
from drivers.errors import BadInput

__all__ = (
    "HEADER_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_LABELS",
    "BadFrame",
    "ChooseReply",
    "ChooseRequest",
    "Failure",
    "GenerateReply",
    "GenerateRequest",
    "HelloReply",
    "HelloRequest",
    "Label",
    "PingReply",
    "PingRequest",
    "Prompt",
    "Reply",
    "Request",
    "decode_reply",
    "decode_request",
    "encode",
    "fits",
    "frame_size",
)

HEADER_BYTES = 4
MAX_FRAME_BYTES = 1 << 20  # a prompt is a few kilobytes; more than this is a fault, not a message
MAX_LABELS = 15  # one sequence per label beside the prompt's own, out of the 16 of the context
MAX_TEXT = 32_768  # characters in one part of a prompt; the context ends long before
MAX_TIMEOUT_S = 600.0
MAX_TOKENS = 512

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,31}$")]
"""An enumerated answer: letters, digits and underscores, so that it cannot carry a sentence."""

_Id = Annotated[int, Field(ge=0, lt=1 << 63)]
_Seconds = Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
_Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class BadFrame(BadInput):
    """The bytes are not a message of this protocol; the connection is of no further use."""


class Prompt(Frozen):
    """A prompt in three parts.

    `prefix` and `suffix` come from a template and may hold the model's turn markers; `evidence` is data, and
    markers in it are read as plain text.
    """

    prefix: _Text
    evidence: _Text
    suffix: _Text


class HelloRequest(Frozen):
    """Asks who answers."""

    kind: Literal["hello"] = "hello"
    id: _Id


class PingRequest(Frozen):
    """Asks for a sign of life."""

    kind: Literal["ping"] = "ping"
    id: _Id


class ChooseRequest(Frozen):
    """Asks for the likelihood of each label as the whole answer to the prompt."""

    kind: Literal["choose"] = "choose"
    id: _Id
    timeout_s: _Seconds
    prompt: Prompt
    labels: tuple[Label, ...] = Field(min_length=2, max_length=MAX_LABELS)


class GenerateRequest(Frozen):
    """Asks for a short text, the likeliest token each time."""

    kind: Literal["generate"] = "generate"
    id: _Id
    timeout_s: _Seconds
    prompt: Prompt
    max_tokens: int = Field(gt=0, le=MAX_TOKENS)
    stop: tuple[Annotated[str, StringConstraints(min_length=1, max_length=32)], ...] = Field(default=(), max_length=4)


class HelloReply(Frozen):
    """Who answers: the model by the hash of its file, and the build that runs it."""

    kind: Literal["hello"] = "hello"
    id: _Id
    model_sha256: _Sha256
    model: str = Field(max_length=128, description="the file's own description, for example llama 135M Q4_1")
    build: str = Field(max_length=512)
    n_params: _Count
    n_ctx: _Count
    load_s: float = Field(ge=0, allow_inf_nan=False)


class PingReply(Frozen):
    """A sign of life."""

    kind: Literal["ping"] = "ping"
    id: _Id


class ChooseReply(Frozen):
    """Log-likelihoods in nats, in the order of the request's labels, each with its end token."""

    kind: Literal["choose"] = "choose"
    id: _Id
    log_likelihoods: tuple[_Finite, ...] = Field(max_length=MAX_LABELS)
    prompt_tokens: _Count
    cached_tokens: _Count = Field(description="of those, restored instead of computed")


class GenerateReply(Frozen):
    """The text, without the stop string that ended it."""

    kind: Literal["generate"] = "generate"
    id: _Id
    text: str = Field(max_length=MAX_TEXT)
    tokens: _Count


class Failure(Frozen):
    """The request was not answered.  `late`: its time was up.  `refused`: it cannot be answered.  `off`: none can."""

    kind: Literal["failure"] = "failure"
    id: _Id
    reason: Literal["late", "refused", "off"]
    text: str = Field(max_length=500)


Request: TypeAlias = HelloRequest | PingRequest | ChooseRequest | GenerateRequest
Reply: TypeAlias = HelloReply | PingReply | ChooseReply | GenerateReply | Failure

_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])
_REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])


def encode(message: Request | Reply) -> bytes:
    """The message as one frame, header included; `BadFrame` if it is longer than a frame may be."""
    body: bytes = msgpack.packb(message.model_dump())
    if len(body) > MAX_FRAME_BYTES:
        raise BadFrame(f"{message.kind} takes {len(body)} bytes, a frame holds {MAX_FRAME_BYTES}")
    return struct.pack(">I", len(body)) + body


def frame_size(header: bytes) -> int:
    """How many bytes follow the four of the header; `BadFrame` if more than a frame may hold, or none."""
    (size,) = struct.unpack(">I", header)
    if not 0 < size <= MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {size} bytes is announced, 1 to {MAX_FRAME_BYTES} are allowed")
    return int(size)


def decode_request(body: bytes) -> Request:
    """The request in a frame's body; `BadFrame` if there is none."""
    try:
        return _REQUEST.validate_python(_unpack(body))
    except ValidationError as err:
        raise BadFrame(f"not a request: {err.error_count()} fields are wrong") from err


def decode_reply(body: bytes) -> Reply:
    """The reply in a frame's body; `BadFrame` if there is none."""
    try:
        return _REPLY.validate_python(_unpack(body))
    except ValidationError as err:
        raise BadFrame(f"not a reply: {err.error_count()} fields are wrong") from err


def fits(request: Request, reply: Reply) -> bool:
    """True when the reply can be the answer to this request: same id, same kind, one number per label."""
    if reply.id != request.id:
        return False
    if isinstance(request, ChooseRequest) and isinstance(reply, ChooseReply):
        return len(reply.log_likelihoods) == len(request.labels)
    return isinstance(reply, Failure) or reply.kind == request.kind


def _unpack(body: bytes) -> Any:
    try:
        return msgpack.unpackb(body)
    except (ValueError, TypeError, OverflowError) as err:  # all that msgpack documents for hostile input
        raise BadFrame(f"not MessagePack: {type(err).__name__}") from err
