"""The bodies of TF Serving's REST API: JSON to arrays and back.

The forms are those of https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np
import orjson
import tensorflow as tf

from crater_model.serving.servable import ModelVersion, RequestError

Run = Callable[[Mapping[str, np.ndarray], str], dict[str, np.ndarray]]


def predict(version: ModelVersion, body: bytes, run: Run) -> str:
    """Answers a predict request in row ("instances") or column ("inputs") form.

    Args:
      run: inputs and a signature's name -> outputs.

    Raises:
      RequestError: INVALID_ARGUMENT when the body is not such a request.
    """
    try:
        request = json.loads(body)
    except ValueError as error:
        raise _bad(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise _bad('expected a JSON object with either "instances" or "inputs"')
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise _bad('"signature_name" is not a string')
    names = list(version.signature(name).inputs)
    types = {key: tf.as_dtype(info.dtype) for key, info in version.signature(name).inputs.items()}
    by_row = "instances" in request
    columns = _columns(request["instances"], names) if by_row else request["inputs"]
    if not isinstance(columns, dict):
        columns = {names[0]: columns} if len(names) == 1 else {}
    inputs = {key: _input(key, value, types.get(key)) for key, value in columns.items()}
    outputs = run(inputs, name)
    if not by_row:
        values = {key: _output(key, array) for key, array in outputs.items()}
        return _text({"outputs": values if len(values) > 1 else next(iter(values.values()))})
    count = len(next(iter(inputs.values())))
    if any(array.shape[:1] != (count,) for array in outputs.values()):
        raise _bad('an output has no row for each instance; use the "inputs" form')
    columns = {key: _output(key, array) for key, array in outputs.items()}
    rows = [{key: values[row] for key, values in columns.items()} for row in range(count)]
    return _text({"predictions": rows if len(outputs) > 1
                  else [next(iter(row.values())) for row in rows]})


def _output(name: str, array: np.ndarray) -> np.ndarray | list:
    """What JSON can hold: strings become text, or {"b64": TEXT} where the name ends in _bytes."""
    if array.dtype.kind not in "OSU":
        return np.ascontiguousarray(array)
    binary = name.endswith("_bytes")

    def encode(item):
        if isinstance(item, list):
            return [encode(child) for child in item]
        data = item if isinstance(item, bytes) else str(item).encode()
        return ({"b64": base64.b64encode(data).decode()} if binary
                else data.decode(errors="replace"))

    return encode(array.tolist())


def _text(values: dict) -> str:
    """JSON with every float as short as its type allows, as TF Serving writes it."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _columns(instances: Any, names: list[str]) -> dict[str, list]:
    """The rows turned into one list an input."""
    if not isinstance(instances, list) or not instances:
        raise _bad('"instances" is not a list with at least one entry')
    rows = []
    for row in instances:
        bare = not isinstance(row, dict) or set(row) == {"b64"}
        if bare and len(names) != 1:
            raise _bad(f"an instance names no input; expected an object with {names}")
        rows.append({names[0]: row} if bare else row)
    if any(set(row) != set(rows[0]) for row in rows):
        raise _bad("the instances do not all name the same inputs")
    return {key: [row[key] for row in rows] for key in rows[0]}


def _input(name: str, value: Any, dtype: tf.DType | None) -> np.ndarray:
    """JSON value -> array; {"b64": TEXT} anywhere in it stands for bytes."""
    def decode(item):
        if isinstance(item, list):
            return [decode(child) for child in item]
        if isinstance(item, dict):
            if set(item) != {"b64"} or not isinstance(item["b64"], str):
                raise _bad(f'input {name!r}: expected {{"b64": "..."}}, got keys {sorted(item)}')
            try:
                return base64.b64decode(item["b64"], validate=True)
            except (binascii.Error, ValueError):
                raise _bad(f"input {name!r}: the b64 value is not base64") from None
        return item

    value = decode(value)
    if dtype is None:  # an unknown name: predict says so
        return np.asarray(value, object)
    try:
        if dtype == tf.string:
            flat = np.asarray(value, object)
            if any(not isinstance(item, (bytes, str)) for item in flat.ravel()):
                raise ValueError("holds something that is no string")
            return flat
        return np.asarray(value, dtype.as_numpy_dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise _bad(f"input {name!r} is not {dtype.name}: {error}") from None


def _bad(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)
