"""A model trained on rendered terrain, for hyperparameter sets to start from."""

import dagster as dg
from pydantic import Field

from crater_assets.experiments import chip_size, resolved
from crater_assets.faults import RETRY
from crater_assets.history import plain_failures, short_hash
from crater_assets.metadata import described
from crater_assets.partitions import INIT_CHECKPOINT, PRETRAINED, wants_pretrained
from crater_assets.pool import POOL, make_pool_known
from crater_assets.resources import Crater
from crater_assets.trainings import CODE_VERSION, train_artifact
from crater_model.storage import Storage

_SPLITS = (0.85, 0.15, 0.0)  # nothing is tested here


class PretrainingConfig(dg.Config):
    """What it is trained on, and for how long."""

    scenes: int = Field(400, ge=2, description="Rendered scenes of the network's input size.")
    seed: int = Field(1, ge=1, description="Of the terrain. 0 is that of the embedded data set, "
                                           "whose test scenes must stay unseen.")
    train_steps: int | None = Field(None, ge=1, description="Default: the experiment's.")


@dg.asset(name=PRETRAINED, group_name="craters", kinds={"tensorflow"}, owners=["team:craters"],
          code_version=CODE_VERSION, pool=POOL, retry_policy=RETRY)
def pretrained(context: dg.AssetExecutionContext, crater: dg.ResourceParam[Crater],
               config: PretrainingConfig) -> dg.MaterializeResult:
    """A Mask R-CNN of the experiment as it is, trained on synthetic terrain.

    Hyperparameter sets with `task.init_checkpoint: pretrained` start from its weights. A set that
    changes the network's shape cannot: its training fails and says what does not match.
    Terrain, records and model are named by what they were made from, and are used again.
    """
    make_pool_known(context.instance, POOL)
    with plain_failures():
        # The experiment may say for all sets that they start from here; this one cannot.
        overrides = {INIT_CHECKPOINT: ""} if wants_pretrained(crater.experiment, {}) else {}
        settings = resolved(crater.experiment, overrides)
        storage, size = crater.open_storage(), chip_size(settings)
        records = _records(storage, size, config)
        parameters = {"train_steps": config.train_steps, "eval_checkpoint_metric": "mask_AP",
                      "metric_objective_type": "max"}
        key = f"{PRETRAINED}/" + short_hash(settings, parameters, records,
                                            CODE_VERSION)
        metadata = train_artifact(context, PRETRAINED, None, storage, key, records,
                                  crater.experiment, overrides, parameters)
    metadata |= {"scenes": str(config.scenes), "seed": str(config.seed), "chip_size": str(size)}
    return dg.MaterializeResult(metadata=described(PRETRAINED, metadata),
                                data_version=dg.DataVersion(key.partition("/")[2]))


def _records(storage: Storage, size: int, config: PretrainingConfig) -> str:
    """The storage key of the terrain's records, rendered and written where they are missing."""
    from crater_model.records.write import write_records
    from crater_model.synthesis import synthesize

    stamp = short_hash(size, config.scenes, config.seed, CODE_VERSION)
    terrain, records = f"datasets/pretraining-{stamp}", f"tfrecords/pretraining-{stamp}"
    if not storage.exists(records):
        if not storage.exists(terrain):
            synthesize(storage.path(terrain), config.scenes, (size, size), config.seed)
            storage.publish(terrain)
        write_records(storage.fetch(terrain), storage.path(records), splits=_SPLITS)
        storage.publish(records)
    return records
