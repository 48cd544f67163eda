"""Jobs: the whole chain, and its three parts.

`crater_pipeline` is partitioned like `checkpoint`: a run of it takes one hyperparameter set
from the images to the serving image, and a backfill of it all of them (data and release steps
reuse what is there). A backfill of the assets instead (the UI's "Materialize all") makes
the data once, then every checkpoint, then the release once.
"""

from __future__ import annotations

import dagster as dg

from crater_assets.map_images import map_images
from crater_assets.partitions import PRETRAINED, pretraining_is_wanted

_MAPS = dg.AssetSelection.assets(*(["crater_map"] if map_images() else []))
_DATA = ["annotated_images", "tfrecords", *([PRETRAINED] if pretraining_is_wanted() else [])]

crater_pipeline = dg.define_asset_job(
    "crater_pipeline", selection=dg.AssetSelection.all() - _MAPS,
    description="The whole chain for one hyperparameter set; a backfill runs them all.")
prepare_data = dg.define_asset_job(
    "prepare_data", selection=dg.AssetSelection.assets(*_DATA),
    description="Checks the labelled images and writes the records; pretrains where a "
                "hyperparameter set starts from that.")
train = dg.define_asset_job(
    "train", selection=dg.AssetSelection.assets("checkpoint"),
    description="Trains one hyperparameter set; a backfill trains them all.")
release = dg.define_asset_job(
    "release", selection=dg.AssetSelection.assets("best_model", "serving_image"),
    description="Chooses the best checkpoint, exports it and builds the serving image.")

JOBS = [crater_pipeline, prepare_data, train, release]
