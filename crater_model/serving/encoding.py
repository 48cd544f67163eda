"""Arrays in and out of TensorProtos, as TensorFlow's own server reads and writes them.

A TensorProto holds its values in the field of their type, or as bytes in `tensor_content`. TF
Serving reads both; it writes the first, or the second under
--enable_serialization_as_tensor_content (tensor.cc: FromProto, AsProtoField,
AsProtoTensorContent).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from crater_model.serving.servable import RequestError

Write = Callable[[np.ndarray, tensor_pb2.TensorProto], None]

# The field of each type (tensor.proto); the types of fewer than 32 bits share int_val.
_FIELDS = {tf.float32: "float_val", tf.float64: "double_val", tf.int64: "int64_val",
           tf.uint32: "uint32_val", tf.uint64: "uint64_val", tf.bool: "bool_val",
           tf.string: "string_val"}
_CHANNELS = 3


def read(name: str, proto: tensor_pb2.TensorProto, max_megapixels: float) -> np.ndarray:
    """The array of an input; strings are bytes objects.

    Args:
      max_megapixels: what three-channel pixels it may stand for: a message of a few bytes may
        declare any shape and give one value for all.

    Raises:
      RequestError: INVALID_ARGUMENT where it is not readable, or stands for more.
    """
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if math.prod(shape) > max_megapixels * 1e6 * _CHANNELS:
        raise _bad(f"input {name!r} has shape {shape}, which is more than {max_megapixels:g} "
                   "megapixels (max_megapixels); send fewer or smaller images")
    try:
        dtype = tf.as_dtype(proto.dtype)
        with tf.device("cpu:0"):
            return np.asarray(tf.io.parse_tensor(proto.SerializeToString(), dtype).numpy())
    except (tf.errors.OpError, TypeError, ValueError) as error:
        text = getattr(error, "message", None) or str(error) or type(error).__name__
        raise _bad(f"tensor parsing error: {name}: {text.splitlines()[0]}") from None


def as_fields(array: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """Every value in the field of its type."""
    dtype, values = _start(array, proto), array.ravel()
    if dtype in (tf.float16, tf.bfloat16):
        proto.half_val.extend(values.view(np.uint16).tolist())
    elif dtype == tf.complex64:
        proto.scomplex_val.extend(values.view(np.float32).tolist())
    elif dtype == tf.complex128:
        proto.dcomplex_val.extend(values.view(np.float64).tolist())
    else:
        getattr(proto, _FIELDS.get(dtype, "int_val")).extend(values.tolist())


def as_content(array: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """The bytes of the values in order; of strings, the lengths of all as varints and then the
    bytes of all (coding.cc: EncodeStringList)."""
    if _start(array, proto) != tf.string:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
        return
    texts = array.ravel().tolist()
    proto.tensor_content = b"".join([*(_varint(len(text)) for text in texts), *texts])


def _start(array: np.ndarray, proto: tensor_pb2.TensorProto) -> tf.DType:
    dtype = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
    proto.dtype = dtype.as_datatype_enum
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return dtype


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _bad(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)
