"""Reads the tensors and the metadata of an ONNX file without a runtime: for models so small that numpy is faster.

An ONNX file is a protocol buffer; of its messages these fields are read (onnx.proto3): ModelProto.graph 7 and
.metadata_props 14 (key 1, value 2), GraphProto.initializer 5, TensorProto.dims 1, .data_type 2, .name 8, .raw_data 9.
Called by `models.dga.learned`.  Raises ValueError where the bytes are no such file.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ("read_tensors",)

MAX_DIMS = 4  # no tensor of ours has more
_FLOAT, _DOUBLE = 1, 11  # TensorProto.DataType
_DTYPES: dict[int, np.dtype[Any]] = {_FLOAT: np.dtype("<f4"), _DOUBLE: np.dtype("<f8")}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _METADATA, _INITIALIZER = 7, 14, 5
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9


def read_tensors(blob: bytes) -> tuple[dict[str, npt.NDArray[np.float64]], dict[str, str]]:
    """Floating-point initializers of the graph by name, as doubles, and the metadata."""
    tensors: dict[str, npt.NDArray[np.float64]] = {}
    metadata: dict[str, str] = {}
    for field, value in _fields(blob):
        if field == _GRAPH and isinstance(value, bytes):
            tensors |= dict(
                tensor
                for inner, raw in _fields(value)
                if inner == _INITIALIZER and isinstance(raw, bytes) and (tensor := _tensor(raw)) is not None
            )
        elif field == _METADATA and isinstance(value, bytes):
            entry = {key: text.decode() for key, text in _fields(value) if isinstance(text, bytes)}
            metadata[entry.get(1, "")] = entry.get(2, "")
    return tensors, metadata


def _tensor(blob: bytes) -> tuple[str, npt.NDArray[np.float64]] | None:
    """Name and values; None for a tensor of another type, such as a shape."""
    dims: list[int] = []
    name, raw, data_type = "", b"", 0
    for field, value in _fields(blob):
        if field == _DIMS and isinstance(value, bytes):  # packed
            position = 0
            while position < len(value):
                size, position = _varint(value, position)
                dims.append(size)
        elif field == _DIMS and isinstance(value, int):
            dims.append(value)
        elif field == _DATA_TYPE and isinstance(value, int):
            data_type = value
        elif field == _NAME and isinstance(value, bytes):
            name = value.decode()
        elif field == _RAW_DATA and isinstance(value, bytes):
            raw = value
    if data_type not in _DTYPES:
        return None
    dtype = _DTYPES[data_type]
    if len(dims) > MAX_DIMS or prod(dims) * dtype.itemsize != len(raw):
        raise ValueError(f"tensor {name!r}: {len(raw)} bytes do not fill the shape {dims}")
    return name, np.frombuffer(raw, dtype).reshape(dims).astype(np.float64)


def _fields(blob: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of one message, in their order."""
    position = 0
    while position < len(blob):
        key, position = _varint(blob, position)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            number, position = _varint(blob, position)
            yield field, number
            continue
        if wire == _BYTES:
            size, position = _varint(blob, position)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {position} is none of a protocol buffer's")
        if position + size > len(blob):
            raise ValueError(f"field {field} at byte {position} ends beyond the file")
        yield field, blob[position : position + size]
        position += size


def _varint(blob: bytes, position: int) -> tuple[int, int]:
    """Value and the position behind it; at most ten bytes."""
    value = 0
    for index, byte in enumerate(blob[position : position + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, position + index + 1
    raise ValueError(f"no number ends at byte {position}")
