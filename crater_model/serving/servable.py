"""One version of a model, loaded and warmed up.

The warm-up file and the error codes are TF Serving's (https://github.com/tensorflow/serving):
`assets.extra/tf_serving_warmup_requests` is a TFRecord file of PredictionLog messages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from crater_model.errors import ServingError

WARM_UP = Path("assets.extra") / "tf_serving_warmup_requests"
DEFAULT_SIGNATURE = "serving_default"


class RequestError(Exception):
    """A request that cannot be answered: a gRPC status code and one line that says why."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class ModelVersion:
    """One loaded version. `run` may be called from several threads at once.

    Attributes:
      version: its number.
      signatures: name -> SignatureDef; as in TF Serving also TensorFlow's own initialiser,
        `__saved_model_init_op`, which takes no input and so cannot be asked.
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
            return self.signatures[name or DEFAULT_SIGNATURE]
        except KeyError:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found. This model has '
                f"{', '.join(self.signatures)}") from None

    def predict(self, inputs: Mapping[str, np.ndarray],
                signature_name: str = "") -> dict[str, np.ndarray]:
        """`checked` and `run` in one."""
        return self.run(self.checked(inputs, signature_name), signature_name)

    def checked(self, inputs: Mapping[str, np.ndarray], signature_name: str = "",
                outputs: Collection[str] = ()) -> dict[str, np.ndarray]:
        """The inputs (strings as arrays of bytes objects) as `run` takes them.

        Args:
          signature_name: '' for serving_default.
          outputs: names of the outputs wanted, to be checked too.

        Raises:
          RequestError: FAILED_PRECONDITION for an unknown signature, INVALID_ARGUMENT for
            a wrong name, type or shape.
        """
        signature = self.signature(signature_name)
        arrays = _checked_inputs(signature, inputs)
        unknown = sorted(set(outputs) - set(signature.outputs))
        if unknown:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               f"output {unknown[0]!r} is unknown; this model gives "
                               f"{', '.join(sorted(signature.outputs))}")
        names = list(outputs)
        if len(set(names)) < len(names):
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               f"an output is named twice among {', '.join(names)}")
        if not arrays:  # also what batching answers in TF Serving
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT,
                               "a signature without inputs cannot be asked")
        return arrays

    def run(self, inputs: Mapping[str, np.ndarray],
            signature_name: str = "") -> dict[str, np.ndarray]:
        """All outputs of a signature for checked inputs.

        Raises:
          RequestError: INVALID_ARGUMENT for an image that cannot be decoded.
        """
        function = self._module.signatures[signature_name or DEFAULT_SIGNATURE]
        types = self.signature(signature_name).inputs
        try:
            results = function(**{name: tf.constant(array, tf.as_dtype(types[name].dtype))
                                  for name, array in inputs.items()})
            return {name: value.numpy() for name, value in results.items()}
        except tf.errors.OpError as error:
            raise RequestError(_CODES.get(error.error_code, grpc.StatusCode.INTERNAL),
                               _one_line(error)) from error


def _read_signatures(file: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for graph in saved.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return dict(sorted(graph.signature_def.items()))
    raise ServingError(f"{file}: holds no graph tagged 'serve'; export the model again")


def _checked_inputs(signature, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    def refuse(text):
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)

    takes = ", ".join(f"{name} ({tf.as_dtype(info.dtype).name})"
                      for name, info in sorted(signature.inputs.items()))
    for name in sorted(set(inputs) - set(signature.inputs)):
        refuse(f"input {name!r} is unknown; this model takes {takes}")
    for name in sorted(set(signature.inputs) - set(inputs)):
        refuse(f"input {name!r} is missing; this model takes {takes}")
    arrays = {}
    for name, array in inputs.items():
        expected, array = signature.inputs[name], np.asarray(array)
        want = tf.as_dtype(expected.dtype)
        got = tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)
        if got != want:
            refuse(f"input {name!r} is {got.name}, expected {want.name}")
        shape = tf.TensorShape(expected.tensor_shape)
        if not shape.is_compatible_with(array.shape):
            refuse(f"input {name!r} has shape {list(array.shape)}, expected {shape}")
        arrays[name] = array
    return arrays


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
