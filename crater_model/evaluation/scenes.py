"""Scoring a detector on whole scenes: cut into tiles, detected, merged, compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.parts import chosen
from crater_model.annotations.scene import Dataset
from crater_model.detections.truth import truth_from_scene
from crater_model.errors import DataError
from crater_model.files import make_folder, write_bytes, write_json
from crater_model.imagery.pixels import encode_png
from crater_model.mapping.sweep import batched, detect_image
from crater_model.pictures.comparison import comparison
from crater_model.progress import track
from crater_model.scores.evaluator import Evaluator

if TYPE_CHECKING:
    from crater_model.detector.detector import Detector

# Sample pictures beside the scores.
_PICTURES = 4
# Larger scenes are scored but not shown: nobody could open the picture.
_PICTURE_PX = 2**24


def evaluate(model: str | Path | Detector, dataset_dir: str | Path, *,
             scenes: Collection[str] | None = None, scales: Sequence[float] | None = None,
             output: str | Path | None = None) -> dict[str, Any]:
    """Scores a detector on the whole scenes of a labelled data set.

    Args:
      model: a model directory or an exported SavedModel, or a detector loaded from one.
      dataset_dir: a data set; its scenes may be of any size.
      scenes: names of the scenes to score (`Scene.scene`), or of parts (see
        `annotations.parts`); all if None.
      scales: network px per scene px; those the detector was trained at if None.
      output: a folder for `metrics.json`, `precision_recall.png`, `completeness.png`
        and sample pictures.

    Returns:
      `Evaluator.result()`, `recall_by_diameter` (`Evaluator.by_diameter()`), `scenes` (their
      names), `scales` and `data` (fingerprint). A score is None where there is nothing to score.

    Raises:
      DataError: the data set is not valid, or holds none of the named scenes.
    """
    from crater_model.detector.detector import Detector

    whole = load_dataset(dataset_dir)
    dataset = chosen(whole, scenes)
    if not dataset.scenes:
        raise DataError(f"{dataset_dir}: holds none of the {len(scenes or [])} scenes asked for")
    detector = model if isinstance(model, Detector) else Detector.load(model)
    scales = tuple(scales or detector.scales or (1.0,))
    evaluator = Evaluator(detector.label_map)
    found = []
    for scene in track(dataset.scenes, "scoring scenes"):
        with dataset.open_image(scene) as image:
            detections = detect_image(batched(detector.detect), image, detector.chip_size,
                                      scales)
        truth = truth_from_scene(scene)
        evaluator.add(scene.file_name, detections, truth)
        found.append((detections, truth))
    scores = {**evaluator.result(), "recall_by_diameter": evaluator.by_diameter(),
              "scenes": sorted({s.scene for s in dataset.scenes}),
              "scales": list(scales), "data": whole.fingerprint}
    if output is not None:
        _write_output(Path(output), scores, evaluator, dataset, found)
    return scores


def _write_output(folder: Path, scores: dict, evaluator: Evaluator, dataset: Dataset,
                  found: list) -> None:
    from crater_model.evaluation.plots import completeness, precision_recall

    make_folder(folder)
    write_json(folder / "metrics.json", scores)
    write_bytes(folder / "precision_recall.png", precision_recall(evaluator))
    write_bytes(folder / "completeness.png", completeness(evaluator))
    shown = [pair for pair in zip(dataset.scenes, found, strict=True)
             if pair[0].width * pair[0].height <= _PICTURE_PX][:_PICTURES]
    for scene, (detections, truth) in shown:
        picture = comparison(dataset.read_image(scene), detections, truth, scores["threshold"])
        write_bytes(folder / f"{Path(scene.file_name).stem}.png", encode_png(picture))
