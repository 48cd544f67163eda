"""Results on their way out: the model's outputs over a batch to one `Detections` an image,
counted as they pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crater_model.detections import Detections
from crater_model.errors import DataError
from crater_model.progress import Progress
from crater_model.serving.client.failures import Failure, Kind
from crater_model.serving.client.images import Encoded

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "detection_masks",
           "num_detections")


def check_outputs(outputs: Mapping[str, np.ndarray], images: int,
                  wanted: Sequence[str] = OUTPUTS) -> None:
    """Raises Failure unless every output is there and has a row for each image."""
    for name in wanted:
        if name not in outputs:
            raise Failure(Kind.FINAL, "wrong answer", f"it has no {name}; serve a model that "
                          "`crater export` wrote")
        if outputs[name].shape[:1] != (images,):
            raise Failure(Kind.FINAL, "wrong answer", f"its {name} has shape "
                          f"{list(outputs[name].shape)} for {images} images; serve a model "
                          "that `crater export` wrote")


def to_detections(outputs: Mapping[str, np.ndarray], images: Sequence[Encoded],
                  label_map: Mapping[int, str]) -> list[Detections]:
    """Cuts the padding off and types the outputs (see the signature in `detector`)."""
    boxes, scores, classes, masks, counts = (outputs[name] for name in OUTPUTS)
    labels = dict(label_map)
    for number in np.unique(classes):
        if number > 0:
            labels.setdefault(int(number), f"class {int(number)}")
    return [Detections(boxes[i, :n].astype(np.float32), scores[i, :n].astype(np.float32),
                       classes[i, :n].astype(np.int64), masks[i, :n].astype(np.uint8),
                       image.size, labels)
            for i, (image, n) in enumerate(zip(images, counts.tolist(), strict=True))]


class Meter:
    """What a stream does with each result on its way out: count, show, raise."""

    def __init__(self, images: Any, keep_going: bool, progress: bool):
        self._keep_going, self._done = keep_going, 0
        total = len(images) if hasattr(images, "__len__") else None
        self._line = Progress("detecting", total) if progress else None

    def __enter__(self) -> Meter:
        if self._line:
            self._line.__enter__()
        return self

    def __exit__(self, *error) -> None:
        if self._line:
            self._line.__exit__(*error)

    def passed(self, found: Detections | DataError) -> Detections | DataError:
        """Gives the result; raises it when it is an error that ends all."""
        if isinstance(found, DataError) and not self._keep_going:
            raise found
        self._done += 1
        if self._line:
            self._line.update(self._done)
        return found
