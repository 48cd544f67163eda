"""The two ways in which TensorFlow's servers put an array into a TensorProto."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

# tensor.proto: the typed field of each type, where it is not int_val.
_FIELDS = {tf.float32: "float_val", tf.float64: "double_val", tf.int64: "int64_val",
           tf.uint32: "uint32_val", tf.uint64: "uint64_val", tf.bool: "bool_val",
           tf.string: "string_val"}


def _start(array: np.ndarray, proto: tensor_pb2.TensorProto) -> tf.DType:
    dtype = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
    proto.dtype = dtype.as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return dtype


def typed(array: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """tensor.cc, AsProtoField: every element in the type's own field."""
    dtype, values = _start(array, proto), array.ravel()
    if dtype in (tf.float16, tf.bfloat16):
        proto.half_val.extend(values.view(np.uint16).tolist())
    elif dtype in (tf.complex64, tf.complex128):
        field = proto.scomplex_val if dtype == tf.complex64 else proto.dcomplex_val
        field.extend(np.column_stack([values.real, values.imag]).ravel().tolist())
    else:
        getattr(proto, _FIELDS.get(dtype, "int_val")).extend(values.tolist())


def content(array: np.ndarray, proto: tensor_pb2.TensorProto) -> None:
    """tensor.cc, AsProtoTensorContent: the bytes in order; of strings their lengths as varints,
    then all their bytes (coding.cc, EncodeStringList)."""
    if _start(array, proto) != tf.string:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
        return
    lengths = bytearray()
    for text in array.ravel():
        length = len(text)
        while length >= 128:
            lengths.append(length & 127 | 128)
            length >>= 7
        lengths.append(length)
    proto.tensor_content = bytes(lengths) + b"".join(array.ravel())
