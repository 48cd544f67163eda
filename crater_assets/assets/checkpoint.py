"""One trained Mask R-CNN per hyperparameter set."""

from enum import Enum

import dagster as dg
from pydantic import Field

from crater_assets.assets.records import present_records
from crater_assets.experiments import resolved
from crater_assets.faults import RETRY
from crater_assets.history import last_saying, plain_failures, short_hash, upstream
from crater_assets.metadata import described
from crater_assets.partitions import (
    INIT_CHECKPOINT,
    PRETRAINED,
    hyperparameter_sets,
    hyperparameters_of,
    pretraining_is_wanted,
    wants_pretrained,
)
from crater_assets.pool import POOL
from crater_assets.resources import Crater
from crater_assets.trainings import CODE_VERSION, train_artifact
from crater_model.storage import Storage


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
    metric_objective_type: Objective = Field(
        Objective.max, description="Which value of it is the best.")

    def parameters(self) -> dict:
        """As `crater_model.training.train` takes them."""
        return {**self.model_dump(), "metric_objective_type": self.metric_objective_type.value}


# No backfill policy: a backfill then makes one run a partition, which is what is wanted. The
# policy that says so, multi_run(1), launches ranges of one, and Dagster (1.13) files the check of
# a range under no partition.
@dg.asset(deps=["tfrecords", *([PRETRAINED] if pretraining_is_wanted() else [])],
          group_name="craters", kinds={"tensorflow"}, owners=["team:craters"],
          code_version=CODE_VERSION, partitions_def=hyperparameter_sets, pool=POOL,
          retry_policy=RETRY)
def checkpoint(context: dg.AssetExecutionContext, crater: dg.ResourceParam[Crater],
               config: TrainingConfig) -> dg.MaterializeResult:
    """A Mask R-CNN trained with one hyperparameter set (one partition).

    The model directory is named by the records, the set, all parameters, the code version and,
    where the set starts from it, the pretrained model: a run that was interrupted goes on from
    its last checkpoint, and a finished one is used as it is (`reused`). While it trains, and
    after a failure, [training_progress](/assets/training_progress?view=partitions) shows how far
    it has come.
    """
    with plain_failures():
        name, storage = context.partition_key, crater.open_storage()
        overrides = hyperparameters_of(name)
        records = present_records(context, crater).artifact
        start, named = {}, {}
        if wants_pretrained(crater.experiment, overrides):
            weights = upstream(context, PRETRAINED).artifact
            # The key tells what the weights are, training where they lie on this machine.
            start = {INIT_CHECKPOINT: str(storage.fetch(weights))}
            named = {INIT_CHECKPOINT: weights}
        settings = resolved(crater.experiment, overrides | named)
        parameters = config.parameters()
        key = "/".join(("checkpoints", records.rpartition("/")[2],
                        f"{name}-{short_hash(settings, parameters, CODE_VERSION)}"))
        _tell_other_name(context, storage, key)
        metadata = train_artifact(context, "checkpoint", name, storage, key, records,
                                  crater.experiment, overrides | start, parameters)
    metadata["hyperparameters"] = dg.MetadataValue.json(overrides)
    metadata["pretrained"] = named.get(INIT_CHECKPOINT, "none")
    metadata["code_version"], metadata["dataset"] = CODE_VERSION, crater.source
    return dg.MaterializeResult(metadata=described("checkpoint", metadata),
                                data_version=dg.DataVersion(key.partition("/")[2]))


def _tell_other_name(context, storage: Storage, key: str) -> None:
    """Says that these very settings were trained under another name: the name is part of the key,
    so that two equal sets are two trainings, and a renamed one is trained again."""
    if storage.exists(key):
        return
    folder, _, own = key.rpartition("/")
    stamp = own.rpartition("-")[2]
    for name in sorted(context.instance.get_materialized_partitions(dg.AssetKey("checkpoint"))):
        made = last_saying(context.instance, "artifact", "checkpoint", name)
        if name != context.partition_key and made and made.artifact.startswith(f"{folder}/") and (
                made.artifact.endswith(f"-{stamp}")):
            context.log.warning(
                f"the same settings were trained as '{name}' ({made.artifact}); under another name "
                "they are trained again. If the set was renamed, its old name saves this training")
            return
