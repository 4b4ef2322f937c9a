"""Values <-> the bytes that the journal keeps, and arguments -> the hash that replay compares.

Bytes are one tag (0 plain, 1 zstd) and MessagePack.  Kept exactly: None, bool, int of any size, float with NaN and
infinities, str, bytes, list, tuple, set, frozenset, dict, UUID, timedelta and aware datetimes (as UTC).  Models,
dataclasses and enums are kept as their fields or value, and come back through the asked type.  Nothing is ever
pickled, nothing imported by name; naive datetimes, numpy and every other type are refused by name.
"""

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import msgpack
import zstandard
from pydantic import BaseModel, PydanticUserError, RootModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from journal.engine.errors import PayloadTooLarge, Undecodable, Unencodable

__all__ = ("MAX_BYTES", "adapter", "arguments_hash", "convert", "decode", "encode", "value_hash")

MAX_BYTES = 4 * 1024 * 1024  # of MessagePack; a larger step result belongs in a file, and would stall a small box
ZSTD_ABOVE_BYTES = 512  # below, a zstd frame saves nothing worth its header
ZSTD_LEVEL = 3  # the library's default; higher levels cost a Pi more than the flush they save

_PLAIN, _ZSTD = b"\x00", b"\x01"
_TUPLE, _DATETIME, _TIMEDELTA, _SET, _FROZENSET, _BIG_INT, _UUID = range(1, 8)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EMPTY_FACTORIES = (dict, frozenset, list, set, tuple)
_INT64, _UINT64 = -(2**63), 2**64


def encode(value: object) -> bytes:
    """Bytes of `value`.  Raises Unencodable for a type that is not kept, PayloadTooLarge above MAX_BYTES."""
    body = _pack(value, _to_native)
    if len(body) > MAX_BYTES:
        raise PayloadTooLarge(
            f"a {type(value).__name__} of {len(body)} bytes is above the cap of {MAX_BYTES}: keep it in a file and "
            "return its name and digest"
        )
    if len(body) > ZSTD_ABOVE_BYTES:
        packed = zstandard.compress(body, ZSTD_LEVEL)
        if len(packed) < len(body):
            return _ZSTD + packed
    return _PLAIN + body


def decode(data: bytes, annotation: Any = None) -> Any:
    """The value of `data`, as `annotation` (any type pydantic knows) or, without one, as plain containers.

    Raises Undecodable for damaged bytes and for a value that does not fit.
    """
    tag, body = data[:1], data[1:]
    try:
        if tag == _ZSTD:
            if zstandard.frame_content_size(body) > MAX_BYTES:
                raise Undecodable("the payload claims to be larger than the cap")
            body = zstandard.decompress(body, MAX_BYTES)
        elif tag != _PLAIN:
            raise Undecodable(f"unknown payload tag {tag!r}")
        plain = _unpack(body)
    except (ValueError, TypeError, OverflowError, zstandard.ZstdError, msgpack.UnpackException) as err:
        raise Undecodable(f"damaged payload: {err}") from err
    return plain if annotation is None else convert(plain, adapter(annotation))


def adapter(annotation: Any) -> TypeAdapter[Any]:
    """What turns plain containers into `annotation`.  Raises Undecodable for a type that pydantic does not know."""
    try:
        return _cached_adapter(annotation)
    except TypeError:  # an annotation with unhashable metadata
        return TypeAdapter(annotation)
    except PydanticUserError as err:
        raise Undecodable(f"{annotation!r} is no type that a stored value can be read as: {err}") from err


def convert(plain: object, shape: TypeAdapter[Any]) -> Any:
    """`plain` read as the adapter's type, by field name.  Raises Undecodable where it does not fit."""
    try:
        return shape.validate_python(plain, by_alias=False, by_name=True)
    except ValidationError as err:
        raise Undecodable(str(err)) from err


def arguments_hash(signature: inspect.Signature, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
    """Hash of the arguments of a call; those equal to their default are left out, at any depth.

    Raises TypeError for arguments that do not fit the signature, Unencodable for a type that is not kept.
    """
    bound = signature.bind(*args, **kwargs)
    named = []
    for name, value in bound.arguments.items():
        default = signature.parameters[name].default
        plain = _canonical(value)
        if default is inspect.Parameter.empty or _pack(plain) != _pack(_canonical(default)):
            named.append([name, plain])
    return value_hash(named)


def value_hash(value: object) -> str:
    """Hash of one value: 32 hexadecimal digits, the same on every Python version and machine."""
    return hashlib.sha256(_pack(_canonical(value))).hexdigest()[:32]


@functools.lru_cache(maxsize=512)
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _pack(value: object, default: Any = None) -> bytes:
    try:
        packed: bytes = msgpack.packb(value, default=default, strict_types=True, unicode_errors="surrogatepass")
    except (ValueError, OverflowError, TypeError, RecursionError) as err:
        raise Unencodable(f"a {type(value).__name__} cannot be kept: {err}") from err
    return packed


def _unpack(body: bytes) -> Any:
    return msgpack.unpackb(body, ext_hook=_from_ext, strict_map_key=False, unicode_errors="surrogatepass")


def _to_native(value: object) -> object:  # noqa: C901, PLR0911 - one line a type
    """One level of what MessagePack lacks; called by the packer, which packs the result itself."""
    match value:
        case Enum():
            return value.value if type(value.value) in _NATIVE else _to_native(value.value)
        case datetime():
            return _ext(_DATETIME, (_utc(value) - _EPOCH) // _MICROSECOND)
        case timedelta():
            return _ext(_TIMEDELTA, value // _MICROSECOND)
        case tuple():
            return _ext(_TUPLE, list(value))
        case frozenset():
            return _ext(_FROZENSET, list(value))
        case set():
            return _ext(_SET, list(value))
        case UUID():
            return msgpack.ExtType(_UUID, value.bytes)
        case int() if type(value) is int:
            return msgpack.ExtType(_BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
        case RootModel():
            return value.root if type(value.root) in _NATIVE else _to_native(value.root)
        case Mapping():
            return dict(value)
        case _:
            fields = _fields(value)
            if fields is None:
                raise _refusal(value)
            return fields


_NATIVE = frozenset({type(None), bool, int, float, str, bytes, list, dict})


def _ext(code: int, content: object) -> msgpack.ExtType:
    return msgpack.ExtType(code, _pack(content, _to_native))


def _from_ext(code: int, data: bytes) -> object:  # noqa: PLR0911 - one line a type
    if code == _UUID:
        return UUID(bytes=data)
    if code == _BIG_INT:
        return int.from_bytes(data, "big", signed=True)
    content = _unpack(data)
    match code:
        case 1:  # _TUPLE
            return tuple(content)
        case 2:  # _DATETIME
            return _EPOCH + content * _MICROSECOND
        case 3:  # _TIMEDELTA
            return content * _MICROSECOND
        case 4 | 5:  # _SET, _FROZENSET
            try:
                return set(content) if code == _SET else frozenset(content)
            except TypeError:  # members were models; the asked type makes the set of them
                return content
        case _:
            raise Undecodable(f"unknown extension {code} in a payload")


def _fields(value: object) -> dict[str, Any] | None:
    """Fields of a model or dataclass by name; None for anything else."""
    if isinstance(value, BaseModel):
        return {**value.__dict__, **(value.__pydantic_extra__ or {})}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return None


def _defaults(value: object) -> dict[str, Any]:
    """The defaults of a model's or dataclass's fields; factories count only where they give an empty container."""
    specs: list[tuple[str, Any, Any]] = []
    if isinstance(value, BaseModel):
        fields: dict[str, FieldInfo] = type(value).__pydantic_fields__
        specs = [(name, f.default, f.default_factory) for name, f in fields.items() if not f.is_required()]
    elif dataclasses.is_dataclass(value):
        specs = [
            (f.name, f.default, None if f.default_factory is dataclasses.MISSING else f.default_factory)
            for f in dataclasses.fields(value)
            if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
        ]
    found = {name: default for name, default, factory in specs if factory is None}
    return found | {name: factory() for name, _, factory in specs if factory in _EMPTY_FACTORIES}


def _canonical(value: object) -> object:  # noqa: PLR0911 - one line a type
    """`value` in natives and extensions with one form each: fields and keys sorted, defaults left out."""
    match value:
        case Enum():
            return _canonical(value.value)
        case None | bool() | float() | str() | bytes() if type(value) in _NATIVE:
            return value
        case int() if type(value) is int and _INT64 <= value < _UINT64:
            return value
        case list() | tuple():
            return [_canonical(item) for item in value]
        case set() | frozenset():
            return msgpack.ExtType(_SET, b"".join(sorted(_pack(_canonical(item)) for item in value)))
        case RootModel():
            return _canonical(value.root)
        case Mapping():
            pairs = sorted((_pack(_canonical(key)), _pack(_canonical(item))) for key, item in value.items())
            return msgpack.ExtType(_TUPLE, b"".join(key + item for key, item in pairs))
    fields = _fields(value)
    if fields is None:
        return _to_native(value)
    defaults = _defaults(value)
    return {
        name: plain
        for name, plain in sorted((name, _canonical(item)) for name, item in fields.items())
        if name not in defaults or _pack(plain) != _pack(_canonical(defaults[name]))
    }


def _utc(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise Unencodable(f"naive datetime {value.isoformat()}: give it a time zone, for example datetime.now(UTC)")
    return value.astimezone(UTC)


def _refusal(value: object) -> Unencodable:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.partition(".")[0] == "numpy":
        return Unencodable(f"{name} is not kept: convert it with float(), int() or .tolist()")
    return Unencodable(f"{name} is not kept: return a pydantic model, a dataclass or plain containers")
