"""Reading tensors without a runtime."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import TensorProto, helper, numpy_helper

from models.onnx_tensors import read_tensors


def model_of(tensors, metadata=()) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [1])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [1])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    proto = helper.make_model(graph, producer_name="test")
    helper.set_model_props(proto, dict(metadata))
    return proto.SerializeToString()


@given(
    arrays(st.sampled_from([np.float64, np.float32]), array_shapes(max_dims=3), elements=st.floats(-4, 4, width=32)),
)
def test_what_the_library_writes_is_read(value):
    tensors, metadata = read_tensors(model_of({"a": value, "shape": np.array([1, 2])}, [("key", "wert µ")]))
    assert list(tensors) == ["a"]
    assert np.array_equal(tensors["a"], value)
    assert metadata == {"key": "wert µ"}


@given(st.binary(max_size=200))
def test_other_bytes_are_read_or_refused(blob):
    try:
        tensors, _ = read_tensors(blob)
    except ValueError:
        return
    assert isinstance(tensors, dict)


@given(st.data())
def test_a_damaged_file_is_read_or_refused(data):
    blob = bytearray(model_of({"a": np.arange(6.0).reshape(2, 3)}, [("key", "value")]))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        tensors, _ = read_tensors(bytes(blob))
    except ValueError:
        return
    assert isinstance(tensors, dict)


def test_a_cut_file_is_refused():
    with pytest.raises(ValueError, match="ends beyond the file"):
        read_tensors(model_of({"a": np.arange(60.0)})[:300])
