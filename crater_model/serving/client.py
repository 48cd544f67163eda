"""gRPC client: images in, detections in image pixels out.

It speaks TF Serving's PredictionService with PNG or JPEG bytes, so that the same client
works against the serving image and against `crater serve`.
"""

from __future__ import annotations

import io
import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import grpc
import numpy as np
from PIL import Image as PillowImage

from crater_model.detections import Detections
from crater_model.errors import DataError, ServingError

Image = np.ndarray | bytes | str | os.PathLike
MAX_MESSAGE_BYTES = 2**31 - 1  # gRPC's default of 4 MiB is less than one answer
OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "detection_masks",
           "num_detections")


@dataclass(frozen=True)
class _Encoded:
    """One image on its way: its name for messages, its bytes, (height, width) px."""

    name: str
    data: bytes
    size: tuple[int, int]


class Client:
    """A connection to one or more servers of the same model.

    Images go out in batches; with several endpoints the batches are shared between them,
    and an endpoint that is down is left out as long as another answers. Safe to use from
    several threads. Use it as a context manager, or `close` it.
    """

    def __init__(self, endpoint: str = "127.0.0.1:8500", model: str = "crater",
                 timeout_s: float = 60.0, *, version: int | None = None,
                 version_label: str | None = None, label_map: Mapping[int, str] | None = None,
                 max_batch: int = 8, max_batch_bytes: int = 32 << 20, concurrency: int = 2):
        """
        Args:
          endpoint: HOST:PORT, or several with commas between.
          model: the model's name on the server.
          timeout_s: for each request, its repetitions included.
          version, version_label: ask for this version; default the newest.
          label_map: class id -> name; default {1: "crater"} until `describe` has
            asked the model.
          max_batch, max_batch_bytes: a request holds at most this many images and, unless
            one image alone is more, this many bytes.
          concurrency: requests on the way at the same time, for each endpoint.

        Raises:
          ServingError: `endpoint` is not of the form HOST:PORT.
        """
        self.endpoints = [part.strip() for part in endpoint.split(",") if part.strip()]
        for part in self.endpoints or [endpoint]:
            host, _, port = part.rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65536:
                raise ServingError(f"{part!r}: not an endpoint, expected HOST:PORT "
                                   "such as 127.0.0.1:8500")
        self.model, self.timeout_s = model, timeout_s
        self._version, self._label = version, version_label
        self._labels_given = label_map is not None
        self.label_map = dict(label_map or {1: "crater"})
        self._max_batch, self._max_bytes = max(1, max_batch), max_batch_bytes
        self._workers = max(1, concurrency) * len(self.endpoints)
        self._api = _Api()
        self._channels = [grpc.insecure_channel(part, options=_channel_options(part))
                          for part in self.endpoints]
        self._turn = 0
        self._lock = threading.Lock()

    def detect(self, images: Sequence[Image]) -> list[Detections]:
        """Detections in each image, in its own pixels, in the order given.

        Args:
          images: uint8 arrays [h, w] or [h, w, 3] (RGB), PNG or JPEG bytes, or paths of
            such files; sizes may differ.

        Raises:
          DataError: an image that cannot be read or encoded; the message names it.
          ServingError: the server cannot be reached, lacks the model, or fails.
        """
        batches = self._batches([_encode(image, number) for number, image in enumerate(images)])
        with ThreadPoolExecutor(max(1, min(self._workers, len(batches)))) as pool:
            return [found for answer in pool.map(self._detect_batch, batches)
                    for found in answer]

    def metadata(self) -> dict[str, Any]:
        """{"model", "version", "signatures": {name: {"inputs", "outputs"}}}; each input and
        output is {name: {"dtype", "shape"}}, with -1 for a free dimension."""
        request = self._api.metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._address(request.model_spec)
        answer = self._call("prediction", "GetModelMetadata", request, self.timeout_s)
        signatures = self._api.metadata.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(signatures)
        return {
            "model": answer.model_spec.name, "version": answer.model_spec.version.value,
            "signatures": {name: {"inputs": self._api.describe(signature.inputs),
                                  "outputs": self._api.describe(signature.outputs)}
                           for name, signature in sorted(signatures.signature_def.items())}}

    def describe(self) -> dict[str, Any]:
        """The model card: what the model says of itself.

        Its `label_map` names the classes of all further detections, unless the client was
        given one; `chip_size` (px) and `scales` (network px per image px) say how to cut a
        large image.

        Raises:
          ServingError: the server cannot be reached, or its model has no card.
        """
        request = self._api.predict.PredictRequest()
        self._address(request.model_spec)
        request.model_spec.signature_name = "describe"
        request.inputs["query"].CopyFrom(self._api.strings([b""]))
        try:
            answer = self._call("prediction", "Predict", request, self.timeout_s)
        except _Refused as refusal:
            raise ServingError(f"{refusal.endpoint}: model {self.model!r} does not describe "
                               f"itself ({refusal.reason}); serve a model that `crater export` "
                               "wrote") from None
        card = json.loads(self._api.array(answer.outputs["model_card"])[0])
        if not self._labels_given:
            self.label_map = {int(number): name for number, name in card["label_map"].items()}
        return card

    def status(self, timeout_s: float | None = None) -> dict[int, str]:
        """Version number -> state, such as {1: "AVAILABLE"}."""
        request = self._api.status.GetModelStatusRequest()
        self._address(request.model_spec)
        answer = self._call("model", "GetModelStatus", request, timeout_s or self.timeout_s)
        state = self._api.status.ModelVersionStatus.State
        return {entry.version: state.Name(entry.state) for entry in answer.model_version_status}

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Waits until a version of the model can be asked.

        Raises:
          ServingError: it cannot be within `timeout_s`; the message says what stood in
            the way last.
        """
        deadline, reason = time.monotonic() + timeout_s, "no answer"
        while (left := deadline - time.monotonic()) > 0:
            try:
                states = self.status(timeout_s=min(left, 5.0))
            except ServingError as error:
                reason = str(error)
            else:
                if "AVAILABLE" in states.values():
                    return
                reason = f"its versions are {states}"
            time.sleep(min(0.1, max(0.0, left)))
        raise ServingError(f"{','.join(self.endpoints)}: model {self.model!r} is not ready "
                           f"after {timeout_s:g} s: {reason}")

    def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _batches(self, images: list[_Encoded]) -> list[list[_Encoded]]:
        batches, size = [], 0
        for image in images:
            full = not batches or len(batches[-1]) >= self._max_batch
            if full or size + len(image.data) > self._max_bytes:
                batches.append([])
                size = 0
            batches[-1].append(image)
            size += len(image.data)
        return batches

    def _detect_batch(self, batch: list[_Encoded]) -> list[Detections]:
        request = self._api.predict.PredictRequest(output_filter=OUTPUTS)
        self._address(request.model_spec)
        request.model_spec.signature_name = "serving_default"
        request.inputs["image_bytes"].CopyFrom(
            self._api.strings([image.data for image in batch]))
        try:
            answer = self._call("prediction", "Predict", request, self.timeout_s)
        except _Refused as refusal:
            if len(batch) > 1:  # one bad image fails its batch: find out which
                return [found for image in batch for found in self._detect_batch([image])]
            raise DataError(f"{batch[0].name}: the server at {refusal.endpoint} cannot use this "
                            f"image: {refusal.reason}") from None
        return self._unpack(answer, batch)

    def _unpack(self, answer, batch: list[_Encoded]) -> list[Detections]:
        missing = [name for name in OUTPUTS if name not in answer.outputs]
        if missing:
            raise ServingError(f"{','.join(self.endpoints)}: model {self.model!r} gives no "
                               f"{missing[0]}; serve a model that crater export wrote")
        boxes, scores, classes, masks, counts = (self._api.array(answer.outputs[name])
                                                 for name in OUTPUTS)
        labels = dict(self.label_map)
        for number in np.unique(classes):
            if number > 0:
                labels.setdefault(int(number), f"class {int(number)}")
        return [Detections(boxes[i, :n].astype(np.float32), scores[i, :n].astype(np.float32),
                           classes[i, :n].astype(np.int64), masks[i, :n].astype(np.uint8),
                           image.size, labels)
                for i, (image, n) in enumerate(zip(batch, counts.tolist(), strict=True))]

    def _address(self, spec) -> None:
        spec.name = self.model
        if self._version is not None:
            spec.version.value = self._version
        elif self._label:
            spec.version_label = self._label

    def _call(self, service: str, method: str, request, timeout_s: float):
        """Calls one endpoint after the other until one answers or the time is up."""
        deadline, pause = time.monotonic() + timeout_s, 0.1
        with self._lock:
            self._turn += 1
            turn = self._turn
        for attempt in range(1_000_000):
            index = (turn + attempt) % len(self._channels)
            stub: Callable = self._api.stub(service, self._channels[index], method)
            try:
                return stub(request, timeout=max(0.001, deadline - time.monotonic()))
            except grpc.RpcError as error:
                code = error.code()
                if code == grpc.StatusCode.INVALID_ARGUMENT and method == "Predict":
                    raise _Refused(self.endpoints[index], _reason(error)) from None
                if code != grpc.StatusCode.UNAVAILABLE or time.monotonic() + pause > deadline:
                    raise ServingError(
                        f"{self.endpoints[index]}: {method} of model {self.model!r} failed: "
                        f"{code.name}: {_reason(error)}") from None
            if (attempt + 1) % len(self._channels) == 0:  # every endpoint was tried
                time.sleep(pause * random.uniform(0.7, 1.0))
                pause = min(2.0, pause * 2)


class _Refused(Exception):
    """The server says that what it was sent is at fault."""

    def __init__(self, endpoint: str, reason: str):
        super().__init__(reason)
        self.endpoint, self.reason = endpoint, reason


class _Api:
    """The messages of TF Serving's API. They import TensorFlow, so this waits for a Client."""

    def __init__(self):
        import tensorflow as tf
        from tensorflow_serving.apis import (
            get_model_metadata_pb2,
            get_model_status_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
        )
        self._tf = tf
        self.predict = predict_pb2
        self.metadata = get_model_metadata_pb2
        self.status = get_model_status_pb2
        self._stubs = {"prediction": prediction_service_pb2_grpc.PredictionServiceStub,
                       "model": model_service_pb2_grpc.ModelServiceStub}

    def stub(self, service: str, channel: grpc.Channel, method: str) -> Callable:
        return getattr(self._stubs[service](channel), method)

    def strings(self, values: list[bytes]):
        return self._tf.make_tensor_proto(np.array(values, object))

    def array(self, proto) -> np.ndarray:
        return self._tf.make_ndarray(proto)

    def describe(self, tensors) -> dict[str, dict]:
        return {name: {"dtype": self._tf.as_dtype(info.dtype).name,
                       "shape": [dim.size for dim in info.tensor_shape.dim]}
                for name, info in sorted(tensors.items())}


def _channel_options(endpoint: str) -> list[tuple[str, int]]:
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
               ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
               # After a failure try again soon: the deadline, not gRPC, ends the wait.
               ("grpc.initial_reconnect_backoff_ms", 100),
               ("grpc.max_reconnect_backoff_ms", 2000)]
    if endpoint.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]"):
        options.append(("grpc.enable_http_proxy", 0))
    return options


def _encode(image: Image, number: int) -> _Encoded:
    """Bytes to send and the size; arrays become PNG, files and bytes go as they are."""
    if isinstance(image, np.ndarray):
        name = f"image {number}"
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0 or (
                image.ndim == 3 and image.shape[2] not in (1, 3)):
            raise DataError(f"{name}: got {image.dtype} {list(image.shape)}, expected uint8 "
                            "[height, width] or [height, width, 3]")
        colour = image.ndim == 3 and image.shape[2] == 3
        # OpenCV's default level: a 1 MB image takes some 7 ms, zlib's level 6 over 25.
        done, data = cv2.imencode(".png", image[..., ::-1] if colour else image)
        if not done:
            raise DataError(f"{name}: cannot be encoded as PNG")
        return _Encoded(name, data.tobytes(), image.shape[:2])
    if isinstance(image, (bytes, bytearray, memoryview)):
        name, data = f"image {number}", bytes(image)
    else:
        name = str(image)
        try:
            data = Path(image).read_bytes()
        except OSError as error:
            raise DataError(f"{name}: cannot be read: {error.strerror}") from None
    try:
        with PillowImage.open(io.BytesIO(data), formats=("PNG", "JPEG")) as header:
            return _Encoded(name, data, (header.height, header.width))
    except Exception:  # Pillow raises many kinds for what is no image
        raise DataError(f"{name}: neither a PNG nor a JPEG image ({len(data)} bytes)") from None


def _reason(error: grpc.RpcError) -> str:
    lines = (error.details() or "").strip().splitlines()
    return lines[0] if lines else "no reason given"
