"""Chips and TFRecords."""

import json
from pathlib import Path

import dagster as dg
from pydantic import Field

from crater_assets.artifacts import artifact_files
from crater_assets.display import summary
from crater_assets.experiments import chip_size, resolved
from crater_assets.faults import RETRY
from crater_assets.history import (
    Materialization,
    last_saying,
    plain_failures,
    short_fingerprint,
    short_hash,
    upstream,
)
from crater_assets.metadata import described
from crater_assets.pictures import picture
from crater_assets.pool import POOL, make_pool_known
from crater_assets.resources import Crater
from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.scene import Dataset
from crater_model.errors import DataError
from crater_model.files import write_json
from crater_model.storage import Storage

CHIPS_REPORT = "chips.json"  # what was cut and what was left out, beside the chips
CODE_VERSION = "3"  # raise it when the same settings no longer give the same records


class RecordsConfig(dg.Config):
    """How scenes become records."""

    scales: list[float] = Field([], description="Chip px per scene px, one or more. Empty: the "
                                "power of two that brings the median crater near 16 px.")
    overlap: float = Field(0.25, ge=0, le=0.9, description="Share of a chip that the next one "
                           "shows too.")
    min_valid: float = Field(0.5, ge=0, le=1, description="Share of a chip's pixels that must "
                             "have data.")
    max_craters: int | None = Field(None, description="Keep so many craters of a chip, the "
                                       "largest; what is left out is reported. None: all.")
    empties: float | None = Field(None, description="Chips without craters per chip with some. "
                                     "None: all.")
    validation_share: float = Field(0.15, ge=0, lt=1, description="Share of the scenes, 0..1.")
    test_share: float = Field(0.15, ge=0, lt=1, description="Share of the scenes, 0..1.")
    seed: int = Field(0, description="Which scenes go to which split.")
    full_masks: bool = Field(False, description="Also write full-image PNG masks, as Model "
                             "Garden's own parser wants them.")


@dg.asset(deps=["annotated_images"], group_name="craters", kinds={"tensorflow"},
          owners=["team:craters"], code_version=CODE_VERSION, retry_policy=RETRY)
def tfrecords(context: dg.AssetExecutionContext, crater: dg.ResourceParam[Crater],
              config: RecordsConfig) -> dg.MaterializeResult:
    """TFRecords for training, validation and test, split by scene.

    Scenes larger than the network's input, or whose craters are too small or too large for it,
    are cut into chips first (kept under `chips/`). Records that exist already for the same
    data and settings are used as they are.
    """
    make_pool_known(context.instance, POOL)
    with plain_failures():
        from crater_model.records.manifest import read_manifest

        images = upstream(context, "annotated_images")
        folder = crater.dataset_folder()
        dataset = load_dataset(folder)
        if dataset.fingerprint != images.metadata["fingerprint"]:
            raise DataError(f"{folder}: has changed since annotated_images was materialized; "
                            "materialize annotated_images again")
        size = chip_size(resolved(crater.experiment))
        version = "-".join((short_fingerprint(dataset.fingerprint),
                            short_hash(size, config.model_dump(), CODE_VERSION)))
        storage, key = crater.open_storage(), f"tfrecords/{version}"
        reused = storage.exists(key)
        if not reused:
            _write(storage, key, dataset, size, config)
        records = storage.fetch(key)
        manifest = read_manifest(records)
        shown = _picture(context, key, records, manifest)
        chips = _chips_key(version)
        cut = storage.exists(chips)
        report = _chips_report(storage.fetch(chips)) if cut else {}
    counts = ", ".join(f"{name} {split['images']} ({split['instances']})"
                       for name, split in manifest.splits.items())
    metadata = {
        "summary": summary(
            f"**Records of {size} px with their labels: {counts}**",
            "materialize [checkpoint](/assets/checkpoint): *All* partitions for every set."),
        "artifact": key, "url": storage.url(key), "reused": reused,
        **artifact_files(storage, key),
        "dataset": crater.source, "chips": chips if cut else "none: whole scenes",
        "dataset_fingerprint": dataset.fingerprint, "chip_size": str(size),
        "scales": str(list(manifest.scales)),
        "splits_by": report.get("splitting") or manifest.splitting.get("words") or "whole scenes",
        "chips_report": dg.MetadataValue.json(report),
        **{f"{split}_{what}": counts[what] for split, counts in manifest.splits.items()
           for what in ("images", "instances", "max_instances")},
        "files": dg.MetadataValue.json({name: split["files"]
                                        for name, split in manifest.splits.items()}),
        "records": shown,
    }
    return dg.MaterializeResult(metadata=described("tfrecords", metadata),
                                data_version=dg.DataVersion(version))


def present_records(context, crater: Crater) -> Materialization:
    """The last records, to be read by an asset after them.

    Raises:
      DataError: there are none, their check failed, or they were made from another data set than
        the one that this code location now has.
    """
    records = upstream(context, "tfrecords")
    made_from = records.metadata.get("dataset", crater.source)
    if made_from != crater.source:
        raise DataError(f"tfrecords were made from {made_from}, this code location has "
                        f"{crater.source} (CRATER_DATASET); run prepare_data first")
    return records


def source_of_records(storage: Storage, records_key: str, dataset_folder: Path) -> Path:
    """The data set the records under this key were written from: the chips or the scenes."""
    chips = _chips_key(records_key.rpartition("/")[2])
    return storage.fetch(chips) if storage.exists(chips) else dataset_folder


def _picture(context, key: str, folder: Path, manifest) -> dg.MetadataValue:
    """Records with their labels; of records that were pictured before that picture, since
    reading them takes TensorFlow."""
    before = last_saying(context.instance, "records", "tfrecords")
    if before and before.metadata.get("artifact") == key:
        return dg.MetadataValue.md(before.metadata["records"])
    from crater_model.records.show import records_picture

    pictured = "train" if manifest.splits["train"]["images"] else "test"
    return picture(context.instance, records_picture(folder, pictured, 6),
                   "records with their labels")


def _chips_report(chips: Path) -> dict:
    path = chips / CHIPS_REPORT
    return json.loads(path.read_text()) if path.exists() else {}


def _chips_key(version: str) -> str:
    return f"chips/{version}"


def _write(storage: Storage, key: str, dataset: Dataset, size: int,
           config: RecordsConfig) -> None:
    from crater_model.chips import choose_scale, cut_chips
    from crater_model.records.write import write_records

    source = dataset.root
    shares = (1 - config.validation_share - config.test_share, config.validation_share,
              config.test_share)
    scales = config.scales or [choose_scale(dataset)]
    fits = all(max(scene.width, scene.height) <= size for scene in dataset.scenes)
    if scales != [1.0] or not fits:
        chips = _chips_key(key.rpartition("/")[2])
        report = cut_chips(
            dataset.root, storage.path(chips), size, scales=scales, overlap=config.overlap,
            min_valid=config.min_valid, max_craters=config.max_craters,
            empties=config.empties, seed=config.seed, splits=shares)
        write_json(storage.path(chips) / CHIPS_REPORT, report.to_dict())
        storage.publish(chips)
        source = storage.path(chips)
    write_records(source, storage.path(key), splits=shares, full_masks=config.full_masks,
                  seed=config.seed)
    storage.publish(key)
