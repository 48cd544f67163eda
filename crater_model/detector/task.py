"""The Model Garden task: how the crater detector is built, fed, trained and validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import task_factory
from official.vision.tasks import maskrcnn

from crater_model.detections import Detections
from crater_model.detections.truth import Truth, truth_from_grids
from crater_model.detector import initial, inputs, targets
from crater_model.detector.configs import CraterTask, DataConfig
from crater_model.detector.model import CraterMaskRCNN, as_written, build_model

# Images that are kept to be looked at.
_SHOWN = 4


class Scorer(Protocol):
    """What validation needs of an evaluator (`scores.Evaluator`)."""

    def reset(self) -> None:
        """Forgets every image."""

    def add(self, name: str, detections: Detections, truth: Truth) -> None:
        """Takes one image, all in px of the network's input."""

    def result(self) -> dict[str, float | None]:
        """The scores by name; None where there is none."""


@task_factory.register_task_cls(CraterTask)
class CraterMaskRCNNTask(maskrcnn.MaskRCNNTask):
    """Model Garden's Mask R-CNN task on crater records.

    It differs in where the anchors' targets are made (in the training step, for a whole
    batch) and in the evaluation (every image, any number of instances, no file needed).

    Attributes:
      start_step: the step from which training data are wanted; set it before a resumed run.
      evaluator: what validation scores with; set it before validating.
      shown: (source id, detections, truth) of the last validation's fullest images.
    """

    start_step: int = 0
    evaluator: Scorer
    shown: Sequence[tuple[int, Detections, Truth]] = ()

    def build_model(self) -> CraterMaskRCNN:
        """The Keras model, built."""
        model = build_model(self.task_config)
        if self.task_config.freeze_backbone:
            model.backbone.trainable = False
        return model

    def initialize(self, model: tf_keras.Model) -> None:
        """Loads the starting weights, if there are any; see `initial.load_weights`."""
        config = self.task_config
        if config.init_checkpoint:
            initial.load_weights(model, config.init_checkpoint, config.init_checkpoint_modules)

    def build_inputs(self, params: DataConfig, input_context=None) -> tf.data.Dataset:
        """Batches for training or validation; see `inputs.build_inputs`."""
        return inputs.build_inputs(
            params, self.task_config.model.input_size, input_context,
            start_step=self.start_step if params.is_training else 0)

    @as_written
    def train_step(self, inputs, model: tf_keras.Model, optimizer, metrics=None):
        """One step of training; see Model Garden's task."""
        images, labels = inputs
        config = self.task_config
        anchors = targets.anchors_of(config.model, tuple(config.model.input_size[:2]))
        scores, deltas = targets.rpn_targets(
            anchors, labels["gt_boxes"], labels["gt_classes"], config.train_data.parser)
        labels = {**labels, "rpn_score_targets": scores, "rpn_box_targets": deltas,
                  "anchor_boxes": batched(anchors, images)}
        return super().train_step((images, labels), model, optimizer, metrics)

    def build_metrics(self, training: bool = True) -> list[Any]:
        """Mean losses in training; in validation the evaluator has all."""
        return super().build_metrics(training=True) if training else []

    @property
    def label_map(self) -> dict[int, str]:
        """Class id -> name."""
        return dict(enumerate(self.task_config.class_names, start=1))

    @as_written
    def validation_step(self, inputs, model: tf_keras.Model, metrics=None) -> dict[str, Any]:
        """Detections and truth of a batch, in px of the network's input."""
        images, labels = inputs
        outputs = model(images, image_shape=labels["image_info"][:, 1, :], training=False)
        names = ("detection_boxes", "detection_scores", "detection_classes",
                 "detection_masks", "num_detections")
        found = {name: tf.cast(outputs[name], tf.float32) if name != "num_detections"
                 else outputs[name] for name in names}
        truth = {name: labels[name] for name in
                 ("gt_boxes", "gt_classes", "gt_masks", "gt_crowd", "image_info", "source_id")}
        return {"found": found, "truth": truth}

    def aggregate_logs(self, state=None, step_outputs=None):
        """Hands a batch to the evaluator, image by image."""
        if state is None:
            self.evaluator.reset()
            self.shown = []
        replicas = len(step_outputs["truth"]["source_id"])
        for replica in range(replicas):
            found = {k: v[replica].numpy() for k, v in step_outputs["found"].items()}
            truth = {k: v[replica].numpy() for k, v in step_outputs["truth"].items()}
            for i in range(len(truth["source_id"])):
                self._add_image({k: v[i] for k, v in found.items()},
                                {k: v[i] for k, v in truth.items()})
        return True

    def _add_image(self, found: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> None:
        height, width = (int(round(side)) for side in truth["image_info"][1])
        size = height, width
        detections = detections_from_outputs(found, size, self.label_map)
        labels = truth_from_grids(truth["gt_boxes"], truth["gt_classes"], truth["gt_masks"],
                                  truth["gt_crowd"] > 0, size)
        self.evaluator.add(str(truth["source_id"]), detections, labels)
        shown = [*self.shown, (int(truth["source_id"]), detections, labels)]
        self.shown = sorted(shown, key=lambda image: -len(image[2]))[:_SHOWN]

    def reduce_aggregated_logs(self, aggregated_logs, global_step=None) -> dict[str, float]:
        """The scores that exist; a score that does not (no labels) is left out."""
        scores = self.evaluator.result()
        return {name: value for name, value in scores.items() if value is not None}


def batched(anchors: Mapping[str, tf.Tensor], images: tf.Tensor) -> dict[str, tf.Tensor]:
    """The anchors once for every image of the batch."""
    count = tf.shape(images)[0]
    return {level: tf.tile(boxes[tf.newaxis], [count, 1, 1, 1])
            for level, boxes in anchors.items()}


def detections_from_outputs(outputs: dict[str, np.ndarray], size: tuple[int, int],
                            label_map: dict[int, str]) -> Detections:
    """Typed detections of one image from the model's outputs for it.

    Args:
      outputs: detection_boxes [k, 4] px, _scores [k], _classes [k], _masks [k, m, m]
        probabilities 0..1 (or uint8 x 255), num_detections.
    """
    count = int(outputs["num_detections"])
    masks = outputs["detection_masks"][:count]
    if masks.dtype != np.uint8:
        masks = np.round(np.clip(masks, 0.0, 1.0) * 255.0).astype(np.uint8)
    return Detections(
        boxes=outputs["detection_boxes"][:count].astype(np.float32),
        scores=outputs["detection_scores"][:count].astype(np.float32),
        classes=outputs["detection_classes"][:count].astype(np.int64),
        masks=masks, size=size, label_map=label_map)
