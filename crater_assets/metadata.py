"""What the assets, checks and observations carry as metadata: every name, its type, its meaning.

Assets hand their metadata through `described`, and read that of others by `reading.Metadata`, so
that both agree with these tables. `docs/metadata.md` is written from them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg

from crater_assets.entries import Entry, Table, entry_of, fits

_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,), "int": (int,), "float": (float,), "bool": (bool,),
    "json": (list, dict, dg.JsonMetadataValue), "markdown": (dg.MarkdownMetadataValue,),
    "path": (dg.PathMetadataValue,), "table": (dg.TableMetadataValue,),
    "run": (dg.DagsterRunMetadataValue,)}


_log = logging.getLogger(__name__)


_STORED = "the data set is stored, not used where it lies"
_SERVED = "compared with a model in service"
_BUILT, _PUSHED = "an image was built", "the image was pushed"
_PLACE = "the image has a georeference"

_SUMMARY: Table = {
    "summary": Entry("markdown", "what came out, in a line or two, and what to do next")}
_ARTIFACT: Table = {
    "artifact": Entry("text", "storage key of what was made"),
    "url": Entry("text", "where that is: a folder or gs://"),
    "artifact_files": Entry("text", "how many files, and their size"),
    "artifact_manifest": Entry("path", "where each of them stands with bytes and CRC32C"),
}
_PLACES: Table = {
    "tensorboard": Entry("path", "the command that shows its events; a click copies it"),
    "log": Entry("path", "train.log in the model directory"),
    "run": Entry("run", "the run that trained it, also where it is used again"),
    "model_dir": Entry("path", "the model directory on the machine that trained"),
}
_PICTURES: Table = {
    "curves": Entry("markdown", "picture of loss and metric over the steps",
                    "there is a loss or a score"),
    "rims": Entry("markdown", "picture of predicted and true rims on validation images",
                  "a validation drew it"),
}
_PRECISIONS: Table = {"*AP*": Entry("float", "each average precision of the validation, 0..1")}
_STEPS: Table = {
    "steps": Entry("float", "steps done", "a step was seen"),
    "loss": Entry("float", "total loss of the last steps", "it is finite"),
    "learning_rate": Entry("float", "now", "it is known"),
    "steps_per_second": Entry("float", "lately", "it is known"),
    "images_per_second": Entry("float", "lately", "it is known"),
    "seconds_left": Entry("float", "estimated, s", "it is known"),
    "seconds": Entry("float", "so far, s", "it is known"),
}
_RESULT: Table = {
    **_SUMMARY,
    "score": Entry("float", "the metric's value at the best checkpoint", "it has one"),
    **_PICTURES,
    "metric": Entry("text", "name of the score that chose the best checkpoint"),
    "objective": Entry("text", "max or min: which value of it is the best"),
    "loss": Entry("float", "the last total loss", "it is finite"),
    "steps": Entry("float", "steps trained"),
    "seconds": Entry("float", "training time, s, earlier starts included"),
    "stopped_early": Entry("bool", "whether validations stopped getting better first"),
    **_PRECISIONS,
    **_PLACES,
}
_TRAINED: Table = {
    "result": Entry("json", "metric, metrics, loss, steps, seconds and best_checkpoint, as in "
                            "result.json"),
    "experiment": Entry("text", "preset or YAML file"),
    "records": Entry("text", "storage key of the records trained on"),
    "reused": Entry("bool", "whether a finished training was used as it is"),
    **_ARTIFACT,
}

# In the order in which the pages show them: what people look for first, files last.
ASSETS: Mapping[str, Table] = {
    "annotated_images": {
        **_SUMMARY,
        "problem_list": Entry("markdown", "the problems, a line each", "there are any"),
        "labels": Entry("markdown", "picture of images with their labels", "it can be used"),
        "diameters": Entry("markdown", "picture of the diameters' frequencies", "it can be used"),
        "look_alike_images": Entry("markdown", "picture of the first such pairs",
                                   "images look alike"),
        "warning_list": Entry("markdown", "the warnings, a line each", "there are any"),
        "problems": Entry("int", "what cannot be used"),
        "warnings": Entry("int", "what was put right or looks odd"),
        **{name: Entry("int", meaning, "the labels could be read") for name, meaning in (
            ("images", "images"), ("scenes", "scenes"), ("instances", "labelled objects"),
            ("empty_images", "images without a label"),
            ("duplicates", "pairs of labels of one crater"),
            ("look_alikes", "images that look like one of another scene"),
            ("overlapping", "images that lie over one of another scene on the map"))},
        "diameter_px_*": Entry("float", "min, p5, p25, median, p75, p95 and max of the diameters, "
                                        "px"),
        "diameter_km_*": Entry("float", "the same in km, of labels that say so"),
        "craters_per_image_*": Entry("float", "the same of the labels in an image"),
        "statistics": Entry("json", "all counts and sizes, as `crater dataset check --json`"),
        "source": Entry("json", "where the data set comes from", "it can be used"),
        "dataset": Entry("path", "the data set's folder"),
        "source_stamp": Entry("text", "changes with the source's names, sizes and times; empty "
                                      "for rendered terrain"),
        "fingerprint": Entry("text", "SHA-256 of all labels and images, or that there is none"),
        **{name: Entry(entry.kind, entry.meaning, _STORED) for name, entry in _ARTIFACT.items()},
    },
    "tfrecords": {
        **_SUMMARY,
        "records": Entry("markdown", "picture of records with their labels"),
        **{f"{split}_{name}": Entry("int", f"{meaning} of the split")
           for split in ("train", "validation", "test") for name, meaning in (
               ("images", "images"), ("instances", "labelled objects"),
               ("max_instances", "labels in the fullest image"))},
        "scales": Entry("text", "chip px per scene px"),
        "splits_by": Entry("text", "whole scenes, or how a scene was cut into blocks"),
        "chip_size": Entry("text", "side of the network's input, px"),
        "chips_report": Entry("json", "chips written, labels left out and the like; empty where "
                                      "nothing was cut"),
        "dataset": Entry("text", "CRATER_DATASET (and CRATER_IMAGES) that they were made from"),
        "dataset_fingerprint": Entry("text", "fingerprint of the data set they were made from"),
        "chips": Entry("text", "storage key of the chips, or that whole scenes were taken"),
        "files": Entry("json", "each split's files with bytes and checksum"),
        "reused": Entry("bool", "whether records of the same data and settings were there"),
        **_ARTIFACT,
    },
    "pretrained": {
        **_RESULT,
        "scenes": Entry("text", "scenes rendered"),
        "seed": Entry("text", "of the terrain"),
        "chip_size": Entry("text", "side of a scene and of the network's input, px"),
        **_TRAINED,
    },
    "checkpoint": {
        **_RESULT,
        "hyperparameters": Entry("json", "what the set changes in the experiment"),
        "pretrained": Entry("text", "storage key of the pretrained model it started from, or none"),
        "dataset": Entry("text", "CRATER_DATASET (and CRATER_IMAGES) of the records"),
        "code_version": Entry("text", "of the training; another one trains anew"),
        **_TRAINED,
    },
    "training_progress": {
        **_SUMMARY,
        "stage": Entry("text", "started, training, validated, failed or finished"),
        "score": Entry("float", "the metric that chooses, at the last validation",
                       "it has a value"),
        **_PICTURES,
        **_STEPS,
        **_PRECISIONS,
        **_PLACES,
    },
    "best_model": {
        **_SUMMARY,
        "leaderboard": Entry("table", "all sets with scores, or why one takes no part"),
        "leaderboard_picture": Entry("markdown", "the same as bars, and over each setting that "
                                                 "varies"),
        "partition": Entry("text", "the winning hyperparameter set"),
        "validation_score": Entry("float", "the winner's value of the metric on the validation "
                                           "split"),
        "test_score": Entry("float?", "its metric on the test scenes", _SERVED),
        "in_service_score": Entry("float?", "that of the model in service", _SERVED),
        "comparison": Entry("table", "all scores side by side", _SERVED),
        "metric": Entry("text", "by which the sets are ranked"),
        "objective": Entry("text", "max or min: which value of it is the best"),
        "test_scenes": Entry("int", "scenes of the test split"),
        "test_metrics": Entry("json", "all scores on them, as `crater evaluate --json`"),
        "in_service": Entry("text", "storage key of the model in service, or none"),
        "tolerance": Entry("float?", "how much worse it may be than that; null: not compared"),
        "version": Entry("int", "the SavedModel's version number"),
        "saved_model": Entry("path", "its version folder"),
        "inference_input_type": Entry("text", "what a request holds"),
        "inference_input_shape": Entry("json", "[height, width] px of image_tensor",
                                       "the run sets it"),
        "score_threshold": Entry("float", "lowest score of a detection", "the run sets it"),
        "nms_iou_threshold": Entry("float", "overlap from which the weaker of two is dropped",
                                   "the run sets it"),
        "ranking": Entry("json", "partition, score, note and seconds of each set"),
        "test_*": Entry("float", "each average precision of the test"),
        "in_service_metrics": Entry("json", "all scores of the model in service", _SERVED),
        "checkpoint": Entry("text", "storage key of the winner's model directory"),
        "records": Entry("text", "storage key of the records"),
        **_ARTIFACT,
    },
    "serving_image": {
        **_SUMMARY,
        "image": Entry("text", "name and tag", _BUILT),
        "pull_command": Entry("path", "what pulls it; a click copies it", _PUSHED),
        "digest": Entry("text", "to deploy by", _PUSHED),
        "pushed": Entry("text", "name with digest in the registry", _PUSHED),
        "no_image": Entry("text", "why there is none, and what builds it", "no image was built"),
        "build_command": Entry("path", "what builds the context by hand; a click copies it"),
        "context": Entry("path", "the build context's folder"),
        "version": Entry("int", "the model's version"),
        "best_model": Entry("text", "storage key of the model: from now on the one in service"),
        "built": Entry("bool", "whether there is an image"),
        "image_id": Entry("text", "the image's own id", _BUILT),
        "engine": Entry("text", "what built it: docker or buildah", _BUILT),
        "base": Entry("text", "the base image", _BUILT),
        "labels": Entry("json", "the image's OCI labels", _BUILT),
        **_ARTIFACT,
    },
    "crater_map": {
        **_SUMMARY,
        "overlay": Entry("markdown", "picture of the outlines found"),
        "sizes": Entry("markdown", "picture of the cumulative size frequencies",
                       "there are craters to count"),
        "report": Entry("path", "the .html report", "outputs name .html"),
        "craters": Entry("int", "craters found"),
        "cut_by_the_edge": Entry("int", "those whose size is a lower limit"),
        "diameter_*": Entry("float", "min, median and max, in km (`diameter_km_*`) where the image "
                                     "has a georeference, else in px (`diameter_px_*`)"),
        "searched_km2": Entry("float", "the searched ground, km^2", _PLACE),
        "body": Entry("text", "the body it shows", _PLACE),
        "width_px": Entry("int", "the image's width, px"),
        "height_px": Entry("int", "the image's height, px"),
        "image": Entry("path", "the image that was searched"),
        "server": Entry("text", "the servers that were asked", "CRATER_SERVER is set"),
        "model_card": Entry("text", "short hash of the model card they gave",
                            "CRATER_SERVER is set"),
        "best_model": Entry("text", "storage key of the model that ran in the step",
                            "CRATER_SERVER is not set"),
        "version": Entry("int", "the model's version", "it is known"),
        "parameters": Entry("json", "the run configuration"),
        "reused": Entry("bool", "whether the same map was there"),
        **_ARTIFACT,
    },
}

# By the check's name; the last is there in each check that fails.
PROBLEMS = "problems"
CHECKS: Mapping[str, Table] = {
    "labels_valid": {
        "warnings": Entry("int", "what was put right or looks odd",
                          "the labels could be looked at")},
    "records_agree_with_the_data_set": {},
    "loss_finite_and_metric_present": {},
    "saved_model_matches_checkpoint": {
        "detections": Entry("int", "detections in the record that was compared",
                            "both models could be asked")},
    "not_worse_than_in_service": {
        "in_service": Entry("text?", "storage key of the model in service, or none"),
        "in_service_score": Entry("float?", "its metric on the test scenes; null: not compared"),
        "test_score": Entry("float?", "that of the new model"),
        "tolerance": Entry("float?", "how much worse it may be")},
    "image_answers": {
        "detections": Entry("int", "detections in the image that was sent", "the image answered")},
    "keeps_its_scores": {
        "mask_AP_then": Entry("float", "at its release"), "mask_AP": Entry("float", "now")},
    "artifact_in_storage": {},
    PROBLEMS: {"problems": Entry("markdown", "what is wrong, a line each")},
}

# By the stage that the observation names, or by what it tells.
OBSERVATIONS: Mapping[str, Table] = {
    "started": {"stage": Entry("text", "started: a training begins or goes on"), **_PLACES},
    "training": {
        "stage": Entry("text", "training: at most one in 20 s"), **_STEPS},
    "validated": {
        "stage": Entry("text", "validated: each validation"),
        "score": Entry("float", "the metric that chooses", "it has a value"),
        **_PICTURES,
        "steps": Entry("float", "steps done"),
        "seconds": Entry("float", "so far, s", "it is known"),
        **_PRECISIONS},
    "new data": {
        "dataset": Entry("text", "CRATER_DATASET"),
        "source_stamp": Entry("text", "of the new version"),
        "to do": Entry("text", "which jobs to run")},
}


_TABLES = {**ASSETS, **CHECKS, **OBSERVATIONS}


def described(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, brought to what the table says and into its order, which the pages keep.

    What does not agree with it is told in the log and stays as it is: a training that has taken
    a night must not fail of how it is described. `differences` is for tests, which are strict.

    Args:
      name: a key of `ASSETS`, `CHECKS` or `OBSERVATIONS`.
      values: metadata as Dagster takes it.
    """
    table = _TABLES[name]
    values = {key: _brought(entry_of(table, key), values[key]) for key in ordered(name, values)}
    for line in differences(name, values):
        _log.warning("%s", line)
    return values


def ordered(name: str, keys: Iterable[str]) -> list[str]:
    """The names in the order of the table, those of one `*` as they come; unknown ones last."""
    table = _TABLES[name]
    places = {id(entry): place for place, entry in enumerate(table.values())}
    return sorted(keys, key=lambda key: places.get(id(entry_of(table, key)), len(places)))


def differences(name: str, values: Mapping[str, Any]) -> list[str]:
    """Where metadata is not as its table says: a line for each name that is missing, is not
    described, or has a value of another type."""
    table, advice = _TABLES[name], "crater_assets/metadata.py"
    lines = [f"metadata of {name}: '{key}' is missing; add it, or say in {advice} when it is there"
             for key, entry in table.items()
             if not entry.when and "*" not in key and key not in values]
    for key, value in values.items():
        entry = entry_of(table, key)
        if entry is None:
            lines.append(f"metadata of {name}: '{key}' is not described; add it to {advice}")
        elif not fits(_TYPES, entry.kind, value):
            lines.append(f"metadata of {name}: '{key}' is a {type(value).__name__}, expected "
                         f"{entry.kind}; correct it or the table in {advice}")
    return lines


def _brought(entry: Entry | None, value: Any) -> Any:
    """The value as a float where one is described and a whole number came."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if entry and whole and entry.kind.startswith("float") else value
