"""Models as a server holds them: named, in numbered versions, loaded and warmed up.

The folder layout, the version numbers, the warm-up file and the error codes are TF
Serving's (https://github.com/tensorflow/serving): BASE/<version>/saved_model.pb, the
version an integer, `assets.extra/tf_serving_warmup_requests` a TFRecord file of
PredictionLog messages.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import get_model_status_pb2, prediction_log_pb2

from crater_model.errors import ServingError

WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
_INIT_OP = "__saved_model_init_op"  # an implementation detail that clients cannot call
State = get_model_status_pb2.ModelVersionStatus


class RequestError(Exception):
    """A request that cannot be answered: a gRPC status code and one line that says why."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class ModelVersion:
    """One loaded version. `predict` may be called from several threads at once.

    Attributes:
      version: its number.
      signatures: name -> SignatureDef, without TensorFlow's own initialiser.
    """

    def __init__(self, path: str | Path, version: int):
        """Loads the SavedModel at `path` and runs its warm-up requests.

        Raises:
          ServingError: it cannot be loaded, or its warm-up file is damaged.
        """
        self.path, self.version = Path(path), version
        try:
            self.signatures = _read_signatures(self.path / "saved_model.pb")
            self._module = tf.saved_model.load(str(path))  # keeps the variables alive
            self.warm_up()
        except ServingError:
            raise
        except Exception as error:  # TensorFlow raises many kinds here
            raise ServingError(f"{path}: this SavedModel cannot be loaded: {_one_line(error)}; "
                               "export it again") from error

    def warm_up(self) -> int:
        """Runs the recorded requests, so that the first real one is not the slow one."""
        file = self.path / WARM_UP
        count = 0
        try:
            if file.is_file():
                for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
                    log = prediction_log_pb2.PredictionLog.FromString(record)
                    request = log.predict_log.request
                    self.predict({name: tf.make_ndarray(value)
                                  for name, value in request.inputs.items()},
                                 request.model_spec.signature_name)
                    count += 1
        except Exception as error:
            raise ServingError(f"{file}: warm-up request {count + 1} fails: {_one_line(error)}; "
                               "export the model again") from error
        return count

    def signature(self, name: str = "") -> meta_graph_pb2.SignatureDef:
        """The signature of this name; '' means serving_default."""
        try:
            return self.signatures[name or "serving_default"]
        except KeyError:
            raise RequestError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"signature {name!r} is unknown; this model has {', '.join(self.signatures)}"
            ) from None

    def predict(self, inputs: Mapping[str, np.ndarray], signature_name: str = "",
                outputs: Iterable[str] = ()) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          inputs: input name -> array; strings as arrays of bytes objects.
          signature_name: '' for serving_default.
          outputs: names of the outputs wanted; none for all of them.

        Raises:
          RequestError: INVALID_ARGUMENT for a wrong name, type or shape and for an image
            that cannot be read; the message names it.
        """
        signature = self.signature(signature_name)
        tensors = _checked_inputs(signature, inputs)
        unknown = sorted(set(outputs) - set(signature.outputs))
        if unknown:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               f"output {unknown[0]!r} is unknown; this model gives "
                               f"{', '.join(sorted(signature.outputs))}")
        function = self._module.signatures[signature_name or "serving_default"]
        try:
            results = function(**tensors)
        except tf.errors.OpError as error:
            raise RequestError(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL),
                               _one_line(error)) from error
        return {name: results[name].numpy() for name in (tuple(outputs) or results)}


class Model:
    """The versions of one model, the newest the default, with labels such as "stable"."""

    def __init__(self, name: str, versions: Mapping[int, str | Path],
                 labels: Mapping[str, int] | None = None):
        self.name, self.labels = name, dict(labels or {})
        self._folders = dict(versions)
        self._loaded: dict[int, ModelVersion] = {}
        self._states = {number: (State.START, "") for number in versions}
        self._lock = threading.Lock()
        missing = sorted(set(self.labels.values()) - set(self._folders))
        if missing:
            raise ServingError(f"model {name}: a label names version {missing[0]}, "
                               f"which is not among {sorted(self._folders)}")

    def load(self) -> None:
        """Loads every version; one that fails is reported by `states` and left out.

        Raises:
          ServingError: no version can be loaded.
        """
        failure = None
        for number, folder in self._folders.items():
            try:
                version = ModelVersion(folder, number)
            except ServingError as error:
                failure = error
                with self._lock:
                    self._states[number] = (State.END, str(error))
            else:
                with self._lock:
                    self._loaded[number] = version
                    self._states[number] = (State.AVAILABLE, "")
        if not self._loaded:
            raise failure or ServingError(f"model {self.name}: there is no version to load")

    def select(self, version: int | None = None, label: str | None = None) -> ModelVersion:
        """A loaded version by number or label; the newest when neither is given."""
        number = self.number(version, label)
        with self._lock:
            if number in self._loaded:
                return self._loaded[number]
            known = sorted(self._loaded)
        raise RequestError(grpc.StatusCode.NOT_FOUND,
                           f"model {self.name} has no version {number} to serve; it has {known}")

    def number(self, version: int | None, label: str | None) -> int:
        """The version number that a request means."""
        if label:
            if label not in self.labels:
                raise RequestError(grpc.StatusCode.NOT_FOUND,
                                   f"model {self.name} has no version label {label!r}; "
                                   f"it has {sorted(self.labels)}")
            return self.labels[label]
        with self._lock:
            return version if version is not None else max(self._loaded, default=0)

    def states(self, version: int | None = None,
               label: str | None = None) -> list[tuple[int, int, str]]:
        """(version, state, error text), newest first; of one version when it is named."""
        number = None if version is None and not label else self.number(version, label)
        with self._lock:
            found = [(n, *state) for n, state in sorted(self._states.items(), reverse=True)
                     if number in (None, n)]
        if not found:
            raise RequestError(grpc.StatusCode.NOT_FOUND,
                               f"model {self.name} has no version {number}")
        return found


def _read_signatures(file: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for graph in saved.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return {name: signature for name, signature in sorted(graph.signature_def.items())
                    if name != _INIT_OP}
    raise ServingError(f"{file}: holds no graph tagged 'serve'; export the model again")


def _checked_inputs(signature, inputs: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    def refuse(text):
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)

    takes = ", ".join(f"{name} ({tf.as_dtype(info.dtype).name})"
                      for name, info in sorted(signature.inputs.items()))
    for name in sorted(set(inputs) - set(signature.inputs)):
        refuse(f"input {name!r} is unknown; this model takes {takes}")
    for name in sorted(set(signature.inputs) - set(inputs)):
        refuse(f"input {name!r} is missing; this model takes {takes}")
    tensors = {}
    for name, array in inputs.items():
        expected, array = signature.inputs[name], np.asarray(array)
        want = tf.as_dtype(expected.dtype)
        got = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
        if got != want:
            refuse(f"input {name!r} is {got.name}, expected {want.name}")
        shape = tf.TensorShape(expected.tensor_shape)
        if not shape.is_compatible_with(array.shape):
            refuse(f"input {name!r} has shape {list(array.shape)}, expected {shape}")
        tensors[name] = tf.constant(array, want)
    return tensors


_CODES = {
    tf.errors.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    tf.errors.OUT_OF_RANGE: grpc.StatusCode.OUT_OF_RANGE,
    tf.errors.RESOURCE_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def _one_line(error: Exception) -> str:
    """TensorFlow's own sentence out of its report of nodes and stacks."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    text = text.split("[[{{node")[0].split("[[{{")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
