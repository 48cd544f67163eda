"""Materializes one partition of `checkpoint`, resting after validations: a process of its own, for tests to end.

Arguments: folder of the Dagster instance, the `Crater` resource as JSON, partition, steps.
"""

import json
import sys
import time

import dagster as dg

from crater_assets.assets import ASSETS
from crater_assets.resources import Crater
from crater_assets.watching import Watch
from crater_model.storage import unfinished

watch = Watch.__call__


def restfully(self, row) -> None:
    watch(self, row)
    if row["kind"] == "validation":
        time.sleep(60)


if __name__ == "__main__":
    home, resource, partition, steps = sys.argv[1:]
    unfinished.SYNC_SECONDS = 0.2
    Watch.__call__ = restfully
    with dg.DagsterInstance.local_temp(home) as instance:
        dg.materialize(
            ASSETS, instance=instance, resources={"crater": Crater(**json.loads(resource))},
            selection=["checkpoint"], partition_key=partition,
            run_config={"ops": {"checkpoint": {"config": {"train_steps": int(steps)}}}})
