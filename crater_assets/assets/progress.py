"""Where a training can be watched: the partition's page, while it goes on and if it fails."""

import dagster as dg

from crater_assets.partitions import hyperparameter_sets
from crater_assets.watching import PROGRESS

training_progress = dg.AssetSpec(
    PROGRESS, deps=["tfrecords"], group_name="craters", kinds={"tensorboard"},
    owners=["team:craters"], partitions_def=hyperparameter_sets, description=(
        "How far the training of each hyperparameter set has come: score, curves, rims, rates, "
        "its log and TensorBoard events. The step of `checkpoint` writes it from its first moment "
        "on, about every 20 s; what a failed or cancelled training had come to stays here. *Plots* "
        "shows losses and scores over time. Nothing is made from it."))
