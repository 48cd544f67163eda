"""The model card: what an exported model is, and what its numbers rest on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crater_model import __version__
from crater_model.detector.experiment import Experiment
from crater_model.export.warmup import MODEL_NAME
from crater_model.revision import source_revision
from crater_model.training import RESULT, read_result


def model_card(model_dir: str | Path, experiment: Experiment, version: int,
               metrics: dict[str, Any] | None) -> dict[str, Any]:
    """Labels, scales, thresholds, scores, data, hyperparameters and revision, as JSON values.

    Args:
      model_dir: where the model was trained.
      experiment: as it is exported, so that `score_threshold` and `nms_iou_threshold` are those
        in force.
      version: the SavedModel's.
      metrics: scores to put beside those of the validation.
    """
    result = read_result(model_dir) if (Path(model_dir) / RESULT).exists() else {}
    task = experiment.task
    return {
        "name": MODEL_NAME, "version": version, "created_by": f"crater_model {__version__}",
        "source_revision": source_revision(),
        "label_map": {str(i): name for i, name in enumerate(task.class_names, start=1)},
        "chip_size": task.model.input_size[0], "scales": list(task.scales),
        "stretch_percentiles": list(task.stretch_percentiles),
        "mask_size": task.model.mask_roi_aligner.crop_size * task.model.mask_head.upsample_factor,
        "max_num_detections": task.model.detection_generator.max_num_detections,
        "score_threshold": task.model.detection_generator.pre_nms_score_threshold,
        "nms_iou_threshold": task.model.detection_generator.nms_iou_threshold,
        "precision": "float32",
        "metrics": {"validation": result.get("metrics", {}), **(metrics or {})},
        "metric": result.get("metric"), "data": result.get("data"),
        "splitting": result.get("splitting"),
        "experiment": result.get("experiment"), "overrides": result.get("overrides", {}),
        "steps": result.get("steps"),
        "parameters": json.loads(json.dumps(experiment.as_dict())),
    }
