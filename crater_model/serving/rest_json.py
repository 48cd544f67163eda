"""The bodies of TF Serving's REST API: JSON to arrays and back (json_tensor.cc).

The forms are those of https://www.tensorflow.org/tfx/serving/api_rest. Base64 and the types of
numbers are read as strictly as there and no more; of an object that names a key twice the last
value counts here and the first there.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np
import orjson
import tensorflow as tf

from crater_model.serving.servable import DEFAULT_SIGNATURE, ModelVersion, RequestError

Run = Callable[[Mapping[str, np.ndarray], str], dict[str, np.ndarray]]

_SMALL = (tf.int32, tf.int16, tf.int8, tf.uint8)
_WHOLE = (*_SMALL, tf.int64, tf.uint32, tf.uint64)
# What a JSON value must be to become one of this type; other types have no JSON.
_JSON_TYPES: dict[tf.DType, set[type]] = {
    tf.float32: {int, float}, tf.float64: {int, float}, tf.bool: {bool}, tf.string: {str, bytes},
    **{dtype: {int} for dtype in _WHOLE}}
_SPACE = re.compile(r"[ \t\n\v\f\r]+")
_BASE64 = re.compile(r"([A-Za-z0-9+/]*)([=.]*)")
_MOST_SHOWN = 256  # characters of a value in a message


def predict(version: ModelVersion, body: bytes, run: Run) -> bytes:
    """Answers a predict request in row ("instances") or column ("inputs") form.

    Args:
      run: inputs and a signature's name -> outputs.

    Raises:
      RequestError: INVALID_ARGUMENT when the body is not such a request, or the outputs cannot
        be written as JSON.
    """
    request = _parsed(body)
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise _bad("'signature_name' key must be a string value")
    if (name or DEFAULT_SIGNATURE) not in version.signatures:
        raise _bad(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature '
                   f"def; it has {', '.join(version.signatures)}")
    types = {key: tf.as_dtype(info.dtype) for key, info in version.signature(name).inputs.items()}
    if not types:
        raise _bad(f"Failed to get input map for signature: {name}")
    if "instances" in request and "inputs" in request:
        raise _bad("expected only one of the keys 'inputs' and 'instances'")
    if "instances" in request:
        outputs = run(_from_rows(request["instances"], types), name)
        return _rows(outputs)
    if "inputs" in request:
        outputs = run(_from_columns(request["inputs"], types), name)
        values = {key: _output(key, array) for key, array in outputs.items()}
        return _text({"outputs": values if len(values) > 1 else next(iter(values.values()))})
    raise _bad("Missing 'inputs' or 'instances' key")


def _parsed(body: bytes) -> dict:
    """The object that a body begins with; what stands behind it is not looked at."""
    text = body.decode("utf-8-sig", "surrogateescape").lstrip(" \t\n\r")
    if not text:
        raise _bad("JSON Parse error: The document is empty")
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except ValueError as error:
        raise _bad(f"JSON Parse error: the body is not JSON: {error}") from None
    except RecursionError:
        raise _bad("JSON Parse error: its lists and objects are nested too deep") from None
    if not isinstance(value, dict):
        raise _bad(f"{_shown(value)} is not an object")
    return value


def _from_rows(rows: Any, types: Mapping[str, tf.DType]) -> dict[str, np.ndarray]:
    """One value of each input in each row; all values of an input of one shape."""
    if not isinstance(rows, list):
        raise _bad("Expecting 'instances' to be a list")
    if not rows:
        raise _bad("No values in 'instances' array; give at least one")
    if not isinstance(rows[0], dict) and len(types) > 1:
        raise _bad(f"'instances' is a plain list, expected objects with the inputs {sorted(types)}")
    named = isinstance(rows[0], dict) and not _is_base64(rows[0])
    for number, row in enumerate(rows):
        if (isinstance(row, dict) and not _is_base64(row)) != named:
            raise _bad(f"instance {number} is {'no ' if named else 'an '}object of inputs, unlike "
                       "the first")
        for key in row if named else ():
            if key not in types:
                raise _bad(f"input {key!r} of instance {number} is unknown; this model takes "
                           f"{', '.join(types)}")
        if named and set(row) != set(types):
            raise _bad(f"instance {number} has the keys {sorted(row)}, expected {sorted(types)}")
    if not named:
        return {key: _input(key, rows, dtype) for key, dtype in types.items()}
    return {key: _input(key, [row[key] for row in rows], dtype) for key, dtype in types.items()}


def _from_columns(columns: Any, types: Mapping[str, tf.DType]) -> dict[str, np.ndarray]:
    """Each input whole; a lone one needs no name, and names that are not asked for are let be."""
    if not isinstance(columns, dict) or _is_base64(columns):
        if len(types) > 1:
            raise _bad(f"'inputs' is a plain value, expected an object with {sorted(types)}")
        columns = {next(iter(types)): columns}
    for key in types:
        if key not in columns:
            raise _bad(f"Missing named input: {key} in 'inputs' object.")
    return {key: _input(key, columns[key], dtype) for key, dtype in types.items()}


def _input(name: str, value: Any, dtype: tf.DType) -> np.ndarray:
    """Nested lists of equal lengths -> array."""
    shape: list[int] = []
    flat = [value]
    while isinstance(flat[0], list) if flat else False:
        size = len(flat[0])
        if any(not isinstance(item, list) or len(item) != size for item in flat):
            raise _bad(f"input {name!r}: lists at level {len(shape)} have not all the length "
                       f"{size}")
        shape.append(size)
        flat = list(itertools.chain.from_iterable(flat))
    if dtype not in _JSON_TYPES:
        raise RequestError(grpc.StatusCode.UNIMPLEMENTED,
                           f"input {name!r}: there is no JSON for {dtype.name}; ask over gRPC")
    if dtype == tf.string:
        flat = [_bytes(name, item) for item in flat]
    for item in flat if set(map(type, flat)) - _JSON_TYPES[dtype] else ():
        if type(item) not in _JSON_TYPES[dtype]:
            raise _bad(f"input {name!r}: {_shown(item)} is not {dtype.name}")
    try:
        # Numbers of fewer bits are taken as int32 and wrap around, as there.
        array = np.array(flat, np.int32 if dtype in _SMALL else dtype.as_numpy_dtype)
    except (OverflowError, ValueError):
        raise _bad(f"input {name!r}: a number is out of the range of {dtype.name}") from None
    try:
        return array.astype(dtype.as_numpy_dtype, copy=False).reshape(shape)
    except ValueError:
        raise _bad(f"input {name!r}: lists of {len(shape)} levels are no array") from None


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _bytes(name: str, item: Any) -> Any:
    """The bytes of a string, or of an object that holds base64: white space in it, and the
    absence of its padding, are no fault."""
    if isinstance(item, str):
        return item.encode("utf-8", "surrogateescape")
    if not isinstance(item, dict):
        return item
    if not _is_base64(item):
        raise _bad(f'input {name!r}: {_shown(item)} is not formatted correctly for base64 data, '
                   'expected {"b64": "..."}')
    match = _BASE64.fullmatch(_SPACE.sub("", item["b64"]))
    if match:
        text, missing = match[1], -len(match[1]) % 4
        if missing != 3 and len(match[2]) in (0, missing):
            return base64.b64decode(text + "=" * missing)
    raise _bad(f"input {name!r}: Unable to base64 decode: the b64 value is not base64")


def _rows(outputs: Mapping[str, np.ndarray]) -> bytes:
    counts = {array.shape[:1] for array in outputs.values()}
    if len(counts) != 1 or () in counts:
        raise _bad("the outputs have not all the same number of rows; use the 'inputs' form")
    columns = {key: _output(key, array) for key, array in outputs.items()}
    rows = [dict(zip(columns, values, strict=True))
            for values in zip(*columns.values(), strict=True)]
    return _text({"predictions": rows if len(outputs) > 1
                  else [next(iter(row.values())) for row in rows]})


def _output(name: str, array: np.ndarray) -> np.ndarray | list:
    """What JSON can hold: strings become text, or {"b64": TEXT} where the name ends in _bytes."""
    dtype = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
    if dtype not in _JSON_TYPES:
        raise _bad(f"Failed to write JSON value for tensor type: {dtype.name} (output {name!r})")
    if dtype != tf.string:
        return np.ascontiguousarray(array)

    def encode(item):
        if isinstance(item, list):
            return [encode(child) for child in item]
        data = item if isinstance(item, bytes) else str(item).encode()
        return ({"b64": base64.b64encode(data).decode()} if name.endswith("_bytes")
                else data.decode(errors="replace"))

    return encode(array.tolist())


def _text(values: dict) -> bytes:
    """JSON with every float as short as its type allows, as TF Serving writes it."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)


def _shown(value: Any) -> str:
    return f"JSON Value: {value!r:.{_MOST_SHOWN}}"


def _bad(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)
