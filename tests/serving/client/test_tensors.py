"""Tensors in TF Serving's two encodings, against TensorFlow's own coder of them."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from crater_model.serving.client import tensors
from tests.serving.encodings import content, typed

NUMBERS = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8",
           "uint16", "uint32", "uint64", "bool", "complex64", "complex128"]
TEXTS = np.array([[b"", b"crater", b"x" * 127], [b"y" * 128, b"z" * 70_000, b"\xff\x00"]], object)


def encoded(array, encode):
    proto = tensor_pb2.TensorProto()
    encode(array, proto)
    return tensor_pb2.TensorProto.FromString(proto.SerializeToString())


@pytest.mark.parametrize("encode", [typed, content])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_every_type(name, encode):
    dtype = tf.as_dtype(name)
    array = np.arange(6).reshape(2, 3).astype(dtype.as_numpy_dtype)
    proto = encoded(array, encode)
    assert bool(proto.tensor_content) == (encode is content)
    # TensorFlow reads the stand-in's bytes as a server's client in C++ would.
    np.testing.assert_array_equal(
        tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy(), array)
    found = tensors.array(proto)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("encode", [typed, content])
def test_strings(encode):
    proto = encoded(TEXTS, encode)
    assert tf.io.parse_tensor(proto.SerializeToString(), tf.string).numpy().tolist() == \
        TEXTS.tolist()
    found = tensors.array(proto)
    assert found.shape == (2, 3) and found.tolist() == TEXTS.tolist()


@pytest.mark.parametrize("encode", [typed, content])
@pytest.mark.parametrize("array", [np.zeros((0, 4), np.float32), np.empty((2, 0), object)])
def test_nothing(array, encode):
    found = tensors.array(encoded(array, encode))
    assert found.shape == array.shape and found.dtype == array.dtype


@pytest.mark.parametrize("data", [b"\x03ab", b"\x01abc", b"\x80", b"\x01"])
def test_strings_that_are_not_whole_are_refused(data):
    proto = encoded(np.array([b"abc"], object), content)
    proto.tensor_content = data
    with pytest.raises(ValueError, match="1 strings are not whole"):
        tensors.array(proto)
