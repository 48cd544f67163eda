"""One trained Mask R-CNN per hyperparameter set."""

from enum import Enum

import dagster as dg
from pydantic import Field

from crater_assets.display import curves, numbers, picture
from crater_assets.history import plain_failures, short_hash, upstream
from crater_assets.partitions import hyperparameter_sets, hyperparameters
from crater_assets.pool import POOL
from crater_assets.resources import Crater


class Objective(Enum):
    """Whether the best value of a metric is its largest or its smallest."""

    max = "max"
    min = "min"


class TrainingConfig(dg.Config):
    """What a run may set; everything else is the experiment's or the hyperparameter set's."""

    train_steps: int | None = Field(None, ge=1, description="Default: the experiment's.")
    sample_1_of_n_eval_examples: int = Field(
        1, ge=1, description="Validates on every n-th record only.")
    eval_checkpoint_metric: str = Field(
        "mask_AP", description="The validation score that chooses the best checkpoint.")
    metric_objective_type: Objective = Objective.max


# No backfill policy: a backfill then makes one run a partition, which is what is wanted. The
# policy that says so, multi_run(1), launches ranges of one, and Dagster (1.13) files the check of
# a range under no partition.
@dg.asset(deps=["tfrecords"], group_name="craters", kinds={"tensorflow"},
          owners=["team:craters"], code_version="1", partitions_def=hyperparameter_sets,
          pool=POOL)
def checkpoint(context: dg.AssetExecutionContext, crater: Crater,
               config: TrainingConfig) -> dg.MaterializeResult:
    """A Mask R-CNN trained with one hyperparameter set (one partition).

    The model directory is named by the records, the set and all parameters: a run that was
    interrupted goes on from its last checkpoint, and a finished one is used as it is.
    """
    with plain_failures():
        from crater_model.detector.experiment import load_experiment
        from crater_model.training import train

        name = context.partition_key
        overrides = hyperparameters()[name]
        records = upstream(context, "tfrecords")
        parameters = {**config.model_dump(),
                      "metric_objective_type": config.metric_objective_type.value}
        settings = load_experiment(crater.experiment, overrides).as_dict()
        key = "/".join(("checkpoints", records.artifact.rpartition("/")[2],
                        f"{name}-{short_hash(settings, parameters)}"))
        storage = crater.open_storage()
        if storage.exists(key):
            storage.fetch(key)
        result = train(storage.fetch(records.artifact), storage.path(key), crater.experiment,
                       overrides, **parameters)
        files = storage.publish(key)
    metric = result["metric"]
    metadata = {
        "artifact": key, "url": storage.url(key), "bytes": files["bytes"],
        "model_dir": dg.MetadataValue.path(str(storage.path(key))),
        "records": records.artifact, "experiment": crater.experiment,
        "hyperparameters": dg.MetadataValue.json(overrides),
        "metric": metric["name"], "objective": metric["objective"],
        "result": dg.MetadataValue.json({name: result.get(name) for name in (
            "metric", "metrics", "loss", "steps", "seconds", "best_checkpoint")}),
        **numbers({"score": metric["value"], "loss": result["loss"], "steps": result["steps"],
                   "seconds": result["seconds"]}),
        **numbers({name: value for name, value in result["metrics"].items() if "AP" in name}),
    }
    drawn = curves(result["history"], metric["name"])
    if drawn:
        metadata["curves"] = picture(drawn, "loss and metric over the steps")
    return dg.MaterializeResult(metadata=metadata,
                                data_version=dg.DataVersion(key.partition("/")[2]))
