"""The best of the checkpoints, exported."""

import json
import shutil
from enum import Enum
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from crater_assets.artifacts import artifact_files
from crater_assets.assets.checkpoint import Objective
from crater_assets.assets.records import present_records
from crater_assets.display import leaderboard_picture, numbers, summary, table
from crater_assets.faults import RETRY
from crater_assets.history import last_saying, plain_failures, short_hash
from crater_assets.leaderboard import Entry, leaderboard, rows, varied
from crater_assets.metadata import described
from crater_assets.partitions import hyperparameter_sets, hyperparameters
from crater_assets.pictures import picture
from crater_assets.promotion import SAVED_MODEL, SUMMARY, comparison, in_service, scores_of
from crater_assets.resources import Crater
from crater_model.errors import DataError
from crater_model.files import write_json
from crater_model.settings import INPUT_TYPES
from crater_model.storage import Storage

InputType = Enum("InputType", {name: name for name in INPUT_TYPES})  # type: ignore[misc]


class BestModelConfig(dg.Config):
    """By what the best is chosen, what it must keep up with, and how it is exported."""

    eval_checkpoint_metric: str = Field(
        "mask_AP", description="A validation score of the checkpoints.")
    metric_objective_type: Objective = Field(
        Objective.max, description="Which value of it is the best.")
    tolerance: float | None = Field(
        0.0, ge=0, description="How much worse than the model in service it may be on the test "
        "scenes, in this metric. null: it may go into service in any case.")
    inference_input_type: InputType = Field(
        InputType["image_bytes"], description="What a request to the model holds. The project's "
        "own client sends image_bytes.")
    inference_input_shape: list[int] | None = Field(
        None, description="[height, width] px of image_tensor. null: any size.")
    score_threshold: float | None = Field(
        None, ge=0, le=1, description="Lowest score of a detection. null: the experiment's.")
    nms_iou_threshold: float | None = Field(
        None, ge=0, le=1, description="Overlap from which the weaker of two detections is "
        "dropped. null: the experiment's.")

    def thresholds(self) -> dict[str, float | None]:
        """As `Detector.load` takes them."""
        return {"score_threshold": self.score_threshold,
                "nms_iou_threshold": self.nms_iou_threshold}

    def export_options(self) -> dict[str, Any]:
        """As `crater_model.export.export_saved_model` takes them."""
        return {"inference_input_type": self.inference_input_type.value,
                "inference_input_shape": self.inference_input_shape, **self.thresholds()}


@dg.asset(deps=[dg.AssetDep("checkpoint", partition_mapping=dg.AllPartitionMapping())],
          group_name="craters", kinds={"tensorflow"}, owners=["team:craters"], code_version="3",
          retry_policy=RETRY)
def best_model(context: dg.AssetExecutionContext, crater: dg.ResourceParam[Crater],
               config: BestModelConfig) -> dg.MaterializeResult:
    """The checkpoint with the best validation score, exported as a SavedModel.

    Hyperparameter sets that failed, have no valid score, or were trained on other records or
    with other settings than the present ones take no part and are named with the reason; of
    equal scores the first by name wins. The winner alone is scored on the test scenes, whole
    and tiled as in use: that is the number to quote. The model in service is scored on the
    same scenes, and the check `not_worse_than_in_service` compares them.
    """
    metric, objective = config.eval_checkpoint_metric, config.metric_objective_type.value
    with plain_failures():
        records = present_records(context, crater).artifact
        entries = leaderboard(context.instance, hyperparameter_sets.get_partition_keys(),
                              records, metric, objective, hyperparameters())
        winner = entries[0]
        if winner.score is None or winner.made is None:
            raise DataError("no checkpoint can be chosen: " + "; ".join(
                f"{entry.partition}: {entry.note}" for entry in entries))
        previous = last_saying(context.instance, "version", "best_model")
        version = previous.metadata["version"] + 1 if previous else 1
        # One folder per way of training and of export: the version grows only with another.
        checkpoint = winner.made.artifact
        key = f"best_model/{checkpoint.partition('/')[2]}"
        if config.export_options() != BestModelConfig().export_options():  # type: ignore[call-arg]
            key += f"-{short_hash(config.export_options())}"
        storage, dataset = crater.open_storage(), crater.dataset_folder()
        scenes = test_scenes(storage, records)
        if not storage.exists(key):
            _export(storage, key, dataset, scenes, winner, version, config)
        made = json.loads((storage.fetch(key) / SUMMARY).read_text())
        serving, compared = in_service(context.instance), {}
        if serving and scenes and config.tolerance is not None:
            compared = comparison(made["test"], scores_of(storage, serving, dataset, scenes),
                                  metric)
    folder = storage.path(key)
    metadata = {
        "summary": summary(_words(winner, len(entries), made, metric, serving, key),
                           "materialize [serving_image](/assets/serving_image)."),
        "artifact": key, "url": storage.url(key), **artifact_files(storage, key),
        "saved_model": dg.MetadataValue.path(str(folder / SAVED_MODEL / str(made["version"]))),
        "version": made["version"], "partition": winner.partition,
        "checkpoint": checkpoint, "records": records,
        "metric": metric, "objective": objective, "validation_score": float(winner.score),
        "leaderboard": table(rows(entries, metric)),
        "leaderboard_picture": picture(
            context.instance,
            leaderboard_picture(entries, varied(hyperparameters()), metric, objective),
            f"{metric} of the hyperparameter sets"),
        "ranking": dg.MetadataValue.json([
            {"partition": entry.partition, "score": entry.score, "note": entry.note,
             "seconds": entry.number("seconds")}
            for entry in entries]),
        "test_scenes": made["test_scenes"],
        "test_metrics": dg.MetadataValue.json(made["test"]),
        **numbers({name: value for name, value in made["test"].items() if "AP" in name}, "test_"),
        **{name: value for name, value in config.export_options().items() if value is not None},
        "in_service": serving or "none", "tolerance": config.tolerance, **compared,
    }
    return dg.MaterializeResult(
        metadata=described("best_model", metadata),
        data_version=dg.DataVersion(f"{made['version']}-{short_hash(key)}"))


def _words(winner: Entry, sets: int, made: dict[str, Any], metric: str, serving: str | None,
           key: str) -> str:
    """What was chosen, in Markdown."""
    def of(name: str) -> str:
        value = made["test"].get(name)
        return "none" if value is None else f"{value:.4f}"

    tested = (f"on {made['test_scenes']} test scenes **{metric} {of(metric)}**" + (
        "" if metric == "mask_AP50" else f", mask_AP50 {of('mask_AP50')}") if made["test_scenes"]
        else "there is no test scene")
    now = "no model is in service yet" if serving is None else (
        "it is in service already" if serving == key else
        "*comparison* has the model in service beside it")
    return (f"**{winner.partition}** is the best of {sets} sets (validation {metric} "
            f"{winner.score:.4f}); {tested}; {now}.")


def test_scenes(storage: Storage, records: str) -> list[str]:
    """The names of the test scenes of the records under this key."""
    from crater_model.records.manifest import read_manifest

    return read_manifest(storage.fetch(records)).splits["test"]["scenes"]


def _export(storage: Storage, key: str, dataset: Path, scenes: list[str], winner: Entry,
            version: int, config: BestModelConfig) -> None:
    """Scores the winner on the test scenes, exports it and publishes both as one artifact.

    It is scored with the thresholds that it is exported with.
    """
    from crater_model.detector.detector import Detector
    from crater_model.evaluation import evaluate
    from crater_model.export import export_saved_model

    assert winner.made is not None
    checkpoint = winner.made.artifact
    model_dir = storage.fetch(checkpoint)
    folder = storage.path(key)
    shutil.rmtree(folder, ignore_errors=True)  # what an interrupted export left
    detector = Detector.load(model_dir, **config.thresholds())
    test: dict[str, Any] = evaluate(detector, dataset, scenes=scenes,
                                    output=folder / "evaluation") if scenes else {}
    saved = export_saved_model(model_dir, folder / SAVED_MODEL, version, metrics=test,
                               **config.export_options())
    write_json(folder / SUMMARY, {
        "version": int(saved.name), "checkpoint": checkpoint,
        "partition": winner.partition, "test_scenes": len(scenes), "test": test})
    storage.publish(key)
