"""A map of each image that is named, by the model in service."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from crater_assets.artifacts import artifact_files
from crater_assets.display import INLINE_BYTES, numbers, summary
from crater_assets.faults import RETRY
from crater_assets.history import plain_failures, short_hash, upstream
from crater_assets.map_images import VARIABLE, map_images
from crater_assets.metadata import described
from crater_assets.pictures import picture
from crater_assets.pool import POOL
from crater_assets.promotion import SAVED_MODEL
from crater_assets.resources import Crater
from crater_model.errors import DataError

# Raise it when the same model finds other craters in the same image.
CODE_VERSION = "1"
_SUMMARY = "summary.json"
_FOUND = "found"  # kept on the way; gone from the finished artifact
_OVERLAY, _SIZES = "overlay.png", "sizes.png"


class MapConfig(dg.Config):
    """How images are searched, and what is written of them."""

    outputs: list[str] = Field(
        [".gpkg", ".csv", ".html"], description="Files to write, by suffix, as crater detect "
                                                "--output; .scc and .diam need a georeference.")
    threshold: float = Field(0.5, ge=0, le=1, description="The lowest score that is kept.")
    scales: list[float] | None = Field(
        None, description="Network px per image px. Default: what the model says of itself.")
    version_label: str | None = Field(
        None, description="Of the version that CRATER_SERVER is asked for, such as stable. "
                          "Default: its newest.")
    catalogue: str = Field("", description="A file of known craters, which the .html report "
                                           "compares with.")


def crater_map_asset(images: Mapping[str, Path], server: str = "") -> dg.AssetsDefinition:
    """The asset over these images ({partition: file}).

    Args:
      server: where the model answers; the steps then need no GPU and no pool.
    """
    @dg.asset(deps=["serving_image"], group_name="craters", kinds={"geopackage"},
              owners=["team:craters"], code_version=CODE_VERSION,
              partitions_def=dg.StaticPartitionsDefinition(list(images)),
              pool=None if server else POOL, retry_policy=RETRY)
    def crater_map(context: dg.AssetExecutionContext, crater: dg.ResourceParam[Crater],
                   config: MapConfig) -> dg.MaterializeResult:
        """The craters of one image (one partition) as map files.

        Searched by the servers of `CRATER_SERVER`, or else in this step by the model that the
        last `serving_image` holds. An interrupted search goes on where it stopped. The same
        image, model and configuration again are used as they are (`reused`).
        """
        with plain_failures():
            name = context.partition_key
            if name not in images:
                raise DataError(f"crater_map[{name}]: there is no such image in {VARIABLE} any "
                                "more; put it back, or start a run of another")
            return _mapped(context, crater, config, images[name])

    return crater_map


def wanted_maps() -> list[dg.AssetsDefinition]:
    """The asset where $CRATER_MAP_IMAGES is set; nothing otherwise."""
    images = map_images()
    return [crater_map_asset(images, Crater.from_environment().server)] if images else []


def _mapped(context, crater: Crater, config: MapConfig, image: Path) -> dg.MaterializeResult:
    from crater_model.mapping.detect import check_outputs

    name, storage = context.partition_key, crater.open_storage()
    check_outputs([Path(f"{name}{suffix}") for suffix in config.outputs], [image])
    model, known = _model(context, crater, config.version_label)
    settings = config.model_dump()
    files = [image, *([Path(config.catalogue)] if config.catalogue else [])]
    key = f"maps/{name}-" + short_hash(known, settings, CODE_VERSION, *map(_state, files))
    reused = storage.exists(key)
    if not reused:
        with storage.working(key, f"run {context.run.root_run_id or context.run_id}") as work:
            _write(image, name, storage.path(key), config, model)
            work.check()
            storage.publish(key)
    folder = storage.fetch(key)
    found = json.loads((folder / _SUMMARY).read_text())
    metadata = {"artifact": key, "url": storage.url(key), "reused": reused,
                "image": dg.MetadataValue.path(str(image)), **known, **artifact_files(storage, key),
                "parameters": dg.MetadataValue.json(settings), **found,
                "summary": summary(_words(found), "open the files in " + storage.url(key) + ".")}
    if ".html" in config.outputs:
        metadata["report"] = dg.MetadataValue.path(str(folder / f"{name}.html"))
    for file, title in ((_OVERLAY, "craters found"), (_SIZES, "craters of a diameter and larger")):
        if (folder / file).is_file():
            metadata[file.partition(".")[0]] = picture(context.instance,
                                                         (folder / file).read_bytes(), title)
    return dg.MaterializeResult(metadata=described("crater_map", metadata),
                                data_version=dg.DataVersion(key))


def _words(found: Mapping[str, Any]) -> str:
    """What was found, in Markdown."""
    sizes = {name.rpartition("_")[2]: value for name, value in found.items()
             if name.startswith("diameter_")}
    unit = "km" if "diameter_km_min" in found else "px"
    across = (f", {sizes['min']:.3g} to {sizes['max']:.3g} {unit} across (median "
              f"{sizes['median']:.3g})" if sizes else "")
    ground = f" on {found['searched_km2']:.4g} km² of {found['body']}" if "body" in found else ""
    return f"**{found['craters']} craters**{ground}{across}"


def _state(path: Path) -> list[Any]:
    """What tells a file from itself once it is changed."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; see the run's configuration")
    state = path.stat()
    return [str(path), state.st_size, state.st_mtime_ns]


def _model(context, crater: Crater,
           label: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `searched` takes, and what is known of the model."""
    if crater.server:
        from crater_model.serving import Client

        with Client(crater.server, version_label=label, **crater.server_options) as client:
            card = client.describe(pin=True)
            version = client.version
        known = {"server": crater.server, "model_card": short_hash(card), "version": version}
        options = {"version": version, **crater.server_options}
        return {"server": crater.server, "server_options": options}, known
    image = upstream(context, "serving_image").metadata
    saved = crater.open_storage().fetch(image["best_model"]) / SAVED_MODEL / str(image["version"])
    return {"model": str(saved)}, {"best_model": image["best_model"], "version": image["version"]}


def _write(image: Path, name: str, folder: Path, config: MapConfig,
           model: Mapping[str, Any]) -> None:
    """Fills the artifact's folder."""
    from crater_model.files import write_bytes, write_json
    from crater_model.importing.formats import catalogue
    from crater_model.mapping.detect import searched
    from crater_model.mapping.write import write_maps

    known = catalogue.load(config.catalogue) if config.catalogue else None
    with searched([image], folder / _FOUND, scales=config.scales, threshold=config.threshold,
                  **model) as (maps, parameters):
        for suffix in config.outputs:
            write_maps(folder / f"{name}{suffix}", maps, catalogue=known, parameters=parameters)
        for file, png in _pictures(maps):
            write_bytes(folder / file, png)
        write_json(folder / _SUMMARY, _summary(maps[0]))


def _pictures(maps: Sequence) -> list[tuple[str, bytes]]:
    """Small ones, for the asset's page."""
    from crater_model.mapping.formats import picture as overlay
    from crater_model.mapping.formats import plots, report
    from crater_model.pictures.drawing import encode_picture

    pictures = [(_OVERLAY, encode_picture(overlay.whole(maps[0]), INLINE_BYTES))]
    sizes = report.sizes(maps)
    return [*pictures, *([] if sizes is None else [(_SIZES, plots.cumulative(sizes))])]


def _summary(found) -> dict[str, Any]:
    """Numbers of one map: craters, their sizes, the searched ground."""
    table, (height, width) = found.table, found.craters.size
    unit = "km" if "diameter_km" in table else "px"
    sizes = table[f"diameter_{unit}"].dropna()
    summary = {"craters": len(table), "cut_by_the_edge": int(table["edge"].sum()),
               "width_px": width, "height_px": height}
    if len(sizes):
        summary |= numbers({"min": sizes.min(), "median": sizes.median(), "max": sizes.max()},
                           f"diameter_{unit}_")
    if found.mapped:
        summary |= {"body": found.mapped.body.name, "searched_km2": float(found.mapped.km2)}
    return summary
