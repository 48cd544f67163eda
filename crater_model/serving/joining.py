"""Requests put into one run of the model and taken apart again, as TF Serving's BatchingSession
does it (batching_session.cc: ComputeInputSize, MergeInputTensors, SplitOutputTensors)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc
import numpy as np

from crater_model.serving.servable import RequestError

Arrays = Mapping[str, np.ndarray]


def rows_of(inputs: Arrays) -> int:
    """The rows of a request, the same in all of its inputs.

    Raises:
      RequestError: INVALID_ARGUMENT where they are not.
    """
    if any(array.ndim == 0 for array in inputs.values()):
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                           "Batching Run() input tensors must have at least one dimension")
    rows = {len(array) for array in inputs.values()}
    if len(rows) != 1:
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                           "Batching Run() input tensors must have equal 0th-dimension size")
    return rows.pop()


def join(requests: Sequence[Arrays], padded: bool = False) -> dict[str, np.ndarray]:
    """The inputs of all requests, one after the other along axis 0.

    Args:
      padded: fill each up to the largest size, with its own first value.

    Raises:
      RequestError: FAILED_PRECONDITION where sizes differ and are not filled up.
    """
    joined = {}
    for name in requests[0]:
        arrays = [inputs[name] for inputs in requests]
        if padded:
            arrays = _padded(arrays)
        if any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Tensors with name '{name}' from different tasks have different shapes and "
                "padding is turned off. Set pad_variable_length_inputs to true, or ensure that all "
                "tensors with the same name have equal dimensions starting with the first dim.")
        joined[name] = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
    return joined


def _padded(arrays: list[np.ndarray]) -> list[np.ndarray]:
    size = np.max([array.shape[1:] for array in arrays], axis=0)
    filled = []
    for array in arrays:
        missing = [(0, 0), *((0, most - own)
                             for most, own in zip(size, array.shape[1:], strict=True))]
        if not any(after for _, after in missing):
            filled.append(array)
        elif not array.size:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               "Got empty tensor in batch of non-empty tensors.")
        else:
            filled.append(np.pad(array, missing, constant_values=array.flat[0]))
    return filled


def split(outputs: Arrays, rows: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """The rows of each request, of `rows` each. The exported model pads axis 1 to the fullest
    image of a run, so that a request may get more padding than it would alone.

    Raises:
      RequestError: FAILED_PRECONDITION where an output has not one row for each row of the inputs.
    """
    for array in outputs.values():
        if array.ndim == 0:
            raise RequestError(grpc.StatusCode.FAILED_PRECONDITION,
                               "Batched output tensor has 0 dimensions")
        if len(array) != sum(rows):
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension "
                "sizes of the input tensors")
    ends = np.cumsum(rows).tolist()
    return [{name: array[end - count:end] for name, array in outputs.items()}
            for count, end in zip(rows, ends, strict=True)]
