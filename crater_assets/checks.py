"""Asset checks: what must hold of each asset, tried out on the thing itself."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import numpy as np

# What a check was about has no public name yet.
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from crater_assets.assets.records import source_of_records
from crater_assets.display import bullets
from crater_assets.history import BLOCKING_CHECKS, Materialization, last_materialization
from crater_assets.map_images import map_images
from crater_assets.metadata import PROBLEMS, described
from crater_assets.partitions import PRETRAINED, hyperparameter_sets, pretraining_is_wanted
from crater_assets.promotion import SAVED_MODEL, promotion_problem, promotion_words
from crater_assets.resources import Crater
from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.parts import chosen
from crater_model.annotations.scene import Dataset
from crater_model.annotations.validate import check_dataset
from crater_model.detections import Detections
from crater_model.errors import CraterError, DataError
from crater_model.storage import MANIFEST, Storage

BOX_TOLERANCE_PX = 1.0
SCORE_TOLERANCE = 1e-3


def _result(problems: Sequence[str], good: str, severity=dg.AssetCheckSeverity.ERROR,
            **metadata: Any) -> dg.AssetCheckResult:
    """Passes without problems; otherwise says the first one and lists them all."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if problems:
        metadata |= described(PROBLEMS, {"problems": bullets(problems)})
    return dg.AssetCheckResult(passed=not problems, severity=severity, metadata=metadata,
                               description=problems[0] + more if problems else good)


def _in_words(check: Callable[..., dg.AssetCheckResult]) -> Callable[..., dg.AssetCheckResult]:
    """The check, failing with the words of what it cannot do."""
    @functools.wraps(check)
    def worded(*args, **kwargs) -> dg.AssetCheckResult:
        try:
            return check(*args, **kwargs)
        except CraterError as error:
            return _result([str(error)], "")

    return worded


def _of_partitions(context, asset: str, partitions: dg.PartitionsDefinition,
                   look: Callable[[Materialization], tuple[list[str], str]]
                   ) -> dg.AssetCheckResult | dg.Output:
    """A check of one partition, or, in a run without any (as *Execute all* starts it), of each
    that is materialized.

    Args:
      look: gives the problems, and what is said without any.
    """
    if context.has_partition_key:
        return _result(*look(_materialized(context, asset, context.partition_key)))
    made = [found for key in partitions.get_partition_keys()
            if (found := last_materialization(context.instance, asset, key))]
    spec, = context.selected_asset_check_keys
    for found in made:
        result = _in_words(lambda found=found: _result(*look(found)))()
        # A result would be the whole asset's, and Dagster (1.13) cannot take it without partition.
        context.op_execution_context.log_event(dg.AssetCheckEvaluation(
            asset_key=spec.asset_key, check_name=spec.name, passed=result.passed,
            metadata=result.metadata, severity=result.severity, description=result.description,
            partition=found.partition, blocking=spec.name in BLOCKING_CHECKS.values(),
            target_materialization_data=AssetCheckEvaluationTargetMaterializationData(
                storage_id=found.storage_id, run_id=found.run_id, timestamp=found.timestamp)))
    context.log.info(f"{asset}: {len(made)} partitions were looked at")
    return dg.Output(None)


def _materialized(context, asset: str, partition: str | None = None) -> Materialization:
    found = last_materialization(context.instance, asset, partition)
    if found is None:
        raise DataError(f"{asset} has not been materialized; materialize it first")
    _ = found.artifact  # one that somebody reported has none
    return found


@dg.asset_check(asset="annotated_images", name=BLOCKING_CHECKS["annotated_images"],
                blocking=True)
@_in_words
def labels_valid(crater: dg.ResourceParam[Crater]) -> dg.AssetCheckResult:
    """Every label and image can be used; each that cannot is named."""
    report = check_dataset(crater.dataset_folder())
    counts = report.statistics
    return _result(report.problems, f"{counts.get('instances')} instances in "
                   f"{counts.get('images')} images are usable",
                   **described("labels_valid", {"warnings": len(report.warnings)}))


@dg.asset_check(asset="tfrecords", name=BLOCKING_CHECKS["tfrecords"], blocking=True)
@_in_words
def records_agree(context: dg.AssetCheckExecutionContext,
                  crater: dg.ResourceParam[Crater]) -> dg.AssetCheckResult:
    """The records are whole and hold exactly the data set: counts per split, classes, checksums."""
    made = _materialized(context, "tfrecords")
    storage, folder = crater.open_storage(), crater.dataset_folder()
    source = load_dataset(source_of_records(storage, made.artifact, folder))
    problems = records_problems(storage.fetch(made.artifact), source)
    if made.metadata["dataset_fingerprint"] != load_dataset(folder).fingerprint:
        problems.append(f"{folder}: has changed since the records were written; "
                        "materialize annotated_images and tfrecords again")
    return _result(problems, "the records agree with the data set")


def records_problems(records, source: Dataset) -> list[str]:
    """What in a folder of records differs from the data set it was written from."""
    from crater_model.records.manifest import read_manifest, verify_manifest

    problems = list(verify_manifest(records, source.root))
    manifest = read_manifest(records)
    if manifest.splitting.get("by") == "blocks":
        source = chosen(source, manifest.scenes)
    left = {scene.scene for scene in source.scenes}
    for split, said in manifest.splits.items():
        names = set(said["scenes"])
        if names - left:
            problems.append(f"{records}: {split} holds the scene {min(names - left)}, which "
                            "is in another split too or not in the data set; write them again")
        left -= names
        scenes = [scene for scene in source.scenes if scene.scene in names]
        found = {"images": len(scenes), "instances": sum(len(s.instances) for s in scenes)}
        problems += [f"{records}: {split} has {said[what]} {what}, the data set has {count}; "
                     "write them again" for what, count in found.items() if said[what] != count]
    if left:
        problems.append(f"{records}: {len(left)} scene(s) are in no split, {min(left)} "
                        "first; write them again")
    return problems


@dg.asset_check(asset="checkpoint", name=BLOCKING_CHECKS["checkpoint"], blocking=True,
                partitions_def=hyperparameter_sets)
@_in_words
def training_converged(context: dg.AssetCheckExecutionContext):
    """The final loss is a finite number, and there is a score to choose by."""
    def look(made: Materialization) -> tuple[list[str], str]:
        result = made.metadata["result"]
        metric = result["metric"]
        return (training_problems(made.partition or "", result),
                f"{metric['name']} {metric['value']}")

    return _of_partitions(context, "checkpoint", hyperparameter_sets, look)


def training_problems(name: str, result: dict[str, Any]) -> list[str]:
    """What makes the summary of a training unusable for the leaderboard."""
    problems, metric = [], result["metric"]
    loss, value = result["loss"], metric["value"]
    if loss is None or not math.isfinite(loss):
        problems.append(f"{name}: the final loss is {loss}, expected a finite number; lower the "
                        "learning rate")
    if value is None or not math.isfinite(value) or value < 0:
        problems.append(f"{name}: {metric['name']} is {value}, expected a number from 0 up; see "
                        "that the validation split has labels and train for more steps")
    return problems


@dg.asset_check(asset="best_model")
@_in_words
def saved_model_matches_checkpoint(context: dg.AssetCheckExecutionContext,
                                   crater: dg.ResourceParam[Crater]) -> dg.AssetCheckResult:
    """The exported SavedModel finds in a test record what the checkpoint finds."""
    from crater_model.detector.detector import Detector

    made = _materialized(context, "best_model")
    storage = crater.open_storage()
    exported = (storage.fetch(made.artifact) / SAVED_MODEL / str(made.metadata["version"]))
    name, image = test_image(storage.fetch(made.metadata["records"]))
    thresholds = {key: made.metadata.get(key) for key in ("score_threshold", "nms_iou_threshold")}
    before = Detector.load(storage.fetch(made.metadata["checkpoint"]),
                           **thresholds).detect([image])[0]
    after = Detector.load(exported).detect([image])[0]
    problems = [f"{name}: {line}" for line in detection_differences(before, after)]
    return _result(problems, f"{len(after)} detections in {name} agree",
                   **described("saved_model_matches_checkpoint", {"detections": len(after)}))


@dg.asset_check(asset="best_model", name=BLOCKING_CHECKS["best_model"], blocking=True)
@_in_words
def not_worse_than_in_service(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """On the same test scenes, the model keeps up with the one in service, within `tolerance`."""
    made = _materialized(context, "best_model")
    problem = promotion_problem(made.metadata)
    return _result([problem] if problem else [], promotion_words(made.metadata),
                   **described(BLOCKING_CHECKS["best_model"], {
                       name: made.metadata.get(name) for name in (
                           "in_service", "in_service_score", "test_score", "tolerance")}))


def test_image(records) -> tuple[str, np.ndarray]:
    """Name and pixels of the test record with the most labels, of the first hundred.

    A record has the network's own scale. Where none is for testing, another split's is taken.
    """
    from crater_model.records.read import read_split

    for split in ("test", "validation", "train"):
        found = list(read_split(records, split).take(100).as_numpy_iterator())
        if found:
            record = max(found, key=lambda r: len(r["boxes"]))
            return f"{split} record {record['source_id'].decode()}", record["image"]
    raise DataError(f"{records}: holds no record; write the records again")


def detection_differences(one: Detections, other: Detections) -> list[str]:
    """Where two lists of detections in one image differ by more than rounding.

    Detections are paired by box, since equal scores may come in either order. One that has no
    partner counts only if its score is more than the tolerance above the lowest score.
    """
    problems, free = [], np.ones(len(other), bool)
    floor = min((float(d.scores.min()) for d in (one, other) if len(d)), default=0.0)
    for box, score, kind in zip(one.boxes, one.scores, one.classes, strict=True):
        fits = (free & (np.abs(other.boxes - box).max(axis=1, initial=0) <= BOX_TOLERANCE_PX)
                & (np.abs(other.scores - score) <= SCORE_TOLERANCE) & (other.classes == kind))
        if fits.any():
            free[np.flatnonzero(fits)[np.abs(other.scores[fits] - score).argmin()]] = False
        elif score > floor + SCORE_TOLERANCE:
            problems.append(f"box {np.round(box, 1).tolist()} with score {score:.3f} is missing "
                            "from the SavedModel's")
    problems += [f"box {np.round(other.boxes[i], 1).tolist()} with score {other.scores[i]:.3f} is "
                 "only in the SavedModel's"
                 for i in np.flatnonzero(free) if other.scores[i] > floor + SCORE_TOLERANCE]
    return problems


@dg.asset_check(asset="serving_image")
def image_answers(context: dg.AssetCheckExecutionContext,
                  crater: dg.ResourceParam[Crater]) -> dg.AssetCheckResult:
    """The image, run with the engine that built it, answers a gRPC prediction."""
    from crater_model.serving.image import EngineUnavailable, run_image

    warn = dg.AssetCheckSeverity.WARN
    try:
        made = _materialized(context, "serving_image")
        if not made.metadata["built"]:
            return _result([made.metadata["no_image"]], "", severity=warn)
        model = _materialized(context, "best_model")
        takes = model.metadata.get("inference_input_type", "image_bytes")
        if takes != "image_bytes":
            return _result([f"not asked: the model takes {takes}, our client sends image_bytes"],
                           "", severity=warn)
        name, image = test_image(crater.open_storage().fetch(model.metadata["records"]))
        with run_image(made.metadata["image"], made.metadata["engine"]) as client:
            found = client.detect([image])[0]
        assert isinstance(found, Detections)  # what cannot be used raises
    except EngineUnavailable as error:
        return _result([str(error)], "", severity=warn)
    except CraterError as error:
        return _result([str(error)], "")
    return _result([], f"{made.metadata['image']} found {len(found)} detections in "
                   f"{name}", **described("image_answers", {"detections": len(found)}))


def storage_problems(storage: Storage, made: Materialization) -> list[str]:
    """What of a materialization's artifacts is not in the storage as their manifests say."""
    problems = []
    for key in filter(None, (made.artifact, made.metadata.get("chips", "").partition("none")[0])):
        try:
            problems += [f"{storage.url(key)}: {line}; put it back, or remove {MANIFEST} there and "
                         f"materialize {made.asset} again" for line in storage.verify(key)]
        except CraterError as error:
            problems.append(str(error))
    return problems


def storage_check(asset: str, partitions: dg.PartitionsDefinition | None = None
                  ) -> dg.AssetChecksDefinition:
    """The check that what an asset has left in the storage is there, whole."""
    @dg.asset_check(asset=asset, name=STORAGE_CHECK, partitions_def=partitions)
    @_in_words
    def artifact_in_storage(context: dg.AssetCheckExecutionContext,
                            crater: dg.ResourceParam[Crater]):
        """Every file of the artifact is in the storage, with its size and CRC32C."""
        storage = crater.open_storage()

        def look(made: Materialization) -> tuple[list[str], str]:
            files = made.metadata.get("artifact_files", "all files")
            return storage_problems(storage, made), (
                f"{made.artifact}: {files} are there" if made.artifact else
                "the data set is used where it lies; nothing of it is in the storage")

        return (_of_partitions(context, asset, partitions, look) if partitions
                else _result(*look(_materialized(context, asset))))

    return artifact_in_storage


STORAGE_CHECK = "artifact_in_storage"
CHECKS = [labels_valid, records_agree, training_converged, saved_model_matches_checkpoint,
          not_worse_than_in_service, image_answers,
          *map(storage_check, ["annotated_images", "tfrecords",
                                *([PRETRAINED] if pretraining_is_wanted() else []),
                                "best_model", "serving_image"]),
          storage_check("checkpoint", hyperparameter_sets),
          *([storage_check("crater_map", dg.StaticPartitionsDefinition(list(map_images())))]
            if map_images() else [])]
