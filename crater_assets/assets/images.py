"""The labelled images, looked at before anything is made of them."""

import dagster as dg

from crater_assets.artifacts import dataset_artifact
from crater_assets.display import bullets, numbers, summary
from crater_assets.faults import RETRY
from crater_assets.history import plain_failures, short_hash
from crater_assets.metadata import described
from crater_assets.pictures import picture
from crater_assets.resources import Crater
from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.validate import check_dataset

_COUNTS = ("images", "scenes", "instances", "empty_images", "duplicates", "look_alikes",
           "overlapping")


@dg.asset(group_name="craters", kinds={"coco"}, owners=["team:craters"], code_version="1",
          retry_policy=RETRY)
def annotated_images(context: dg.AssetExecutionContext,
                     crater: dg.ResourceParam[Crater]) -> dg.MaterializeResult:
    """The labelled satellite images everything starts from.

    `CRATER_DATASET` names labels of any known form (COCO, VIA, LabelMe, CVAT, Label Studio,
    Pascal VOC, YOLO, map outlines, crater catalogues, masks; `CRATER_IMAGES` the images where
    they lie elsewhere), which are imported into the storage, or a data set that is used where it
    lies; without it synthetic terrain is rendered. Every label is read and every image decoded;
    the check `labels_valid` fails, and names each problem, where they cannot be used. The data
    version is the fingerprint of all labels and images.
    """
    with plain_failures():
        stamp = crater.dataset_stamp()  # before it is read: a later change shows
        folder = crater.dataset_folder()
        report = check_dataset(folder)
    for line in report.problems:
        context.log.error(line)
    statistics = report.statistics
    fingerprint = statistics.get("fingerprint")
    problems = len(report.problems)
    metadata = {
        "summary": summary(
            f"**{problems} problems**: {report.problems[0]}", "mend what is listed here, then "
            "materialize it again.") if problems else summary(
            f"**{statistics['instances']} labelled objects in {statistics['images']} images**, "
            f"no problem, {len(report.warnings)} warnings",
            "materialize [tfrecords](/assets/tfrecords)."),
        "dataset": dg.MetadataValue.path(str(folder)), "source_stamp": stamp,
        **dataset_artifact(crater.open_storage(), folder),
        "fingerprint": fingerprint or "none: the data set has problems",
        "problems": problems, "warnings": len(report.warnings),
        "statistics": dg.MetadataValue.json(statistics),
        **{name: statistics[name] for name in _COUNTS if name in statistics},
        **numbers(statistics.get("diameter_px") or {}, "diameter_px_"),
        **numbers(statistics.get("diameter_km") or {}, "diameter_km_"),
        **numbers(statistics.get("craters_per_image") or {}, "craters_per_image_"),
    }
    for name, lines in (("problem_list", report.problems), ("warning_list", report.warnings)):
        if lines:
            metadata[name] = bullets(lines)
    if report.ok:
        from crater_model.annotations.pictures import (
            contact_sheet,
            diameter_histogram,
            side_by_side,
        )
        from crater_model.pictures.drawing import INLINE_BYTES

        dataset = load_dataset(folder)
        metadata["source"] = dg.MetadataValue.json(dataset.info)
        metadata["labels"] = picture(context.instance, contact_sheet(dataset, 6),
                                     "images with their labels")
        if report.look_alikes:
            pairs = [(one, other) for one, other, _ in report.look_alikes[:4]]
            metadata["look_alike_images"] = picture(
                context.instance, side_by_side(dataset, pairs, 240, INLINE_BYTES),
                "images that look alike")
        metadata["diameters"] = picture(context.instance, diameter_histogram(dataset), "diameters")
    version = fingerprint or f"unusable-{short_hash(report.problems)}"
    return dg.MaterializeResult(metadata=described("annotated_images", metadata),
                                data_version=dg.DataVersion(version))
