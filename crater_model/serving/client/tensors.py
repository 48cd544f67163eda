"""TF Serving's tensors to arrays, in both of their encodings, and back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import tensorflow as tf


def strings(values: list[bytes]):
    """A tensor of strings [n]."""
    return tf.make_tensor_proto(np.array(values, object))


def array(proto) -> np.ndarray:
    """The values of a tensor, of whatever type: of the type's own field, or of the bytes that a
    server with --enable_serialization_as_tensor_content sends. Strings are bytes objects.

    Raises:
      ValueError: it is not whole.
    """
    if proto.dtype == tf.string.as_datatype_enum and proto.tensor_content:
        shape = [dim.size for dim in proto.tensor_shape.dim]
        found = np.empty(int(np.prod(shape, dtype=np.int64)), object)
        found[:] = _texts(proto.tensor_content, len(found))
        return found.reshape(shape)
    return tf.make_ndarray(proto)


def described(tensors: Mapping) -> dict[str, dict]:
    """Type and shape of each input or output of a signature; -1 for a free dimension."""
    return {name: {"dtype": tf.as_dtype(info.dtype).name,
                   "shape": [dim.size for dim in info.tensor_shape.dim]}
            for name, info in sorted(tensors.items())}


def _texts(content: bytes, count: int) -> list[bytes]:
    """TensorFlow's list of strings: their lengths as varints of 7 bits a byte, lowest first, then
    all their bytes."""
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if at == len(content):
                raise ValueError(f"its {count} strings are not whole")
            byte, at = content[at], at + 1
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise ValueError(f"its {count} strings are not whole")
    ends = np.cumsum([at, *lengths]).tolist()
    return [content[start:end] for start, end in pairwise(ends)]
