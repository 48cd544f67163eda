"""Images in, outlines out: through a server or in this process, into files."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import numpy as np

from crater_model.errors import ConfigError, VersionGone
from crater_model.imagery.addresses import is_remote
from crater_model.imagery.place import NO_GEOREFERENCE
from crater_model.imagery.raster import Raster, open_raster, read_header
from crater_model.imagery.stretch import PERCENTILES
from crater_model.importing.formats import catalogue as catalogues
from crater_model.mapping.around import Around, around
from crater_model.mapping.coverage import shown_ground
from crater_model.mapping.craters import Craters
from crater_model.mapping.formats.coco import Numbers
from crater_model.mapping.journal import Journal
from crater_model.mapping.maps import Map, same_for_all
from crater_model.mapping.overlap import seen_once
from crater_model.mapping.sweep import OVERLAP, Stream, batched, map_image
from crater_model.mapping.write import EACH_IMAGE, ONE_BODY, SUFFIXES, write_maps
from crater_model.progress import say
from crater_model.records.manifest import file_entry

_IN_KM = (".scc", ".diam")
_SERVED = "served version"  # beside what the model says: the server's number of it


def detect_files(images: Sequence[str | Path], output: str | Path | Sequence[str | Path], *,
                 server: str | None = None, server_options: Mapping[str, Any] | None = None,
                 model: str | Path | None = None, tile: int | None = None,
                 scales: Sequence[float] | None = None, threshold: float = 0.5,
                 catalogue: str | Path | None = None,
                 coco_ids: str | Path | None = None) -> dict[str, Any]:
    """Detects in image files and writes the outlines.

    What is found on the way is kept in OUTPUT.partial; when the same is asked for again
    after a run that did not end, it goes on from there. It is gone when the output is there.

    Args:
      images: image files of any kind and size (see `imagery.raster`), read in windows;
        more than 8 bits are stretched as the model's training images were.
      output: a file, or several; the suffix decides the form (see
        `write.write_maps`). A picture takes exactly one image, `.scc` and `.diam` georeferences.
      server: HOST:PORT[,...] of TF Serving or `crater serve`. All images are searched by the one
        version that is the newest when the search begins, or that `server_options` names: further
        arguments of `Client`, such as `version_label`, `version`, `ca` and `token`; or
      model: a model directory or SavedModel to run in this process.
      tile: side in px of the network's input; scales: network px per image px. What the
        model says of itself, if None.
      threshold: the lowest score that is kept, 0..1.
      catalogue: known craters of the same ground (see `importing.formats.catalogue`), which a
        report compares with.
      coco_ids: a COCO file that lists the images, whose ids COCO results then have.

    Returns:
      `images`, `detections` (counts; a crater that several images show is one) and `output`.

    Raises:
      ConfigError: an unknown suffix, a picture of several images, km of an image without a
        georeference, an image that `coco_ids` does not list; or what an earlier run has left was
        made with other images, another model or other parameters.
      DataError: an image cannot be read. ServingError: the server does not answer. VersionGone: it
        does not serve the version any more that the search began with.
    """
    outputs = [Path(path) for path in ([output] if isinstance(output, (str, Path)) else output)]
    check_outputs(outputs, images)
    known = catalogues.load(catalogue) if catalogue else None
    numbers = Numbers.load(coco_ids) if coco_ids else None
    if numbers is not None:
        for path in images:  # before the search
            numbers.image(str(path))
    partial = outputs[0].with_name(f"{outputs[0].name}.partial")
    with searched(images, partial, server=server, server_options=server_options, model=model,
                  tile=tile, scales=scales, threshold=threshold) as (maps, parameters):
        joined = seen_once(maps)
        found, left = (sum(len(entry.craters) for entry in each) for each in (maps, joined))
        if left < found:
            say(f"{found - left} craters are shown by several images; they and the ground that "
                "these share count once, but in pictures and COCO results")
        for path in outputs:
            write_maps(path, maps if path.suffix.lower() in EACH_IMAGE else joined,
                       catalogue=known, parameters=parameters, numbers=numbers)
    return {"images": len(images), "detections": left,
            "output": ", ".join(map(str, outputs))}


@contextmanager
def searched(images: Sequence[str | Path], partial: Path, *, server: str | None = None,
             server_options: Mapping[str, Any] | None = None, model: str | Path | None = None,
             tile: int | None = None, scales: Sequence[float] | None = None,
             threshold: float = 0.5,
             ) -> Iterator[tuple[list[Map], dict[str, Any]]]:
    """Searches images as `detect_files` does; write the files while the block runs.

    Args:
      partial: a folder for what is found on the way. It is gone after the block, and stays
        where the search or the block fails.

    Yields:
      A map of each image, and the parameters of the search.

    Raises:
      ConfigError, DataError, ServingError: as `detect_files`.
    """
    maps: list[Map] = []
    with _kept_on_failure(partial), _model(server, server_options, model) as (stream, card):
        percentiles = tuple(card.get("stretch_percentiles", PERCENTILES))
        how: dict[str, Any] = {"tile": tile or card["chip_size"],
                               "scales": list(scales or card["scales"] or (1.0,))}
        for number, path in enumerate(images):
            with open_raster(path, percentiles) as raster:
                for remark in _remarks(raster):
                    say(remark)
                whole = around(raster, 2 * how["tile"] / min(how["scales"]))
                run = {"image": _file_state(path), **_version(card), "model": _digest(card),
                       **how, "overlap": OVERLAP}
                if whole:
                    run["beyond_seam"] = whole.added
                with Journal(partial / f"{number:04d}", run) as journal:
                    craters = _map(stream, whole or raster, how, threshold, journal)
                area = shown_ground(raster)
                maps.append(Map(str(path), craters, raster.georeference,
                                area.shape if area else None, area.pixels if area else None,
                                functools.partial(open_raster, path, percentiles)))
        yield maps, {"model": str(model or server),
                     "version": card.get(_SERVED, card.get("version")), **how,
                     "threshold": threshold}


def check_outputs(outputs: Sequence[Path], images: Sequence[str | Path]) -> None:
    """Refuses, before any search, files that could not be written of these images.

    Raises:
      ConfigError: an unknown suffix, a picture of several images, km of an image without a
        georeference, or images of several bodies in one coordinate system. DataError: an image
        cannot be read.
    """
    for file in outputs:
        if file.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"{file}: unknown suffix '{file.suffix}', expected one of "
                              f"{', '.join(SUFFIXES)}")
        if file.suffix.lower() == ".png" and len(images) != 1:
            raise ConfigError(f"{file}: a picture shows one image, got {len(images)}; "
                              "choose another suffix or name one image")
    headers = [(str(path), read_header(path)) for path in images]
    for file in outputs:
        for name, header in headers:
            if header.georeference is None and file.suffix.lower() in _IN_KM:
                raise ConfigError(f"{file}: {name} {header.lacks}, which sizes in km need; give it "
                                  "one or choose another suffix, such as .gpkg or .csv")
        if file.suffix.lower() in ONE_BODY:
            same_for_all(file, [(name, header.georeference) for name, header in headers])


def _remarks(raster: Raster) -> Iterator[str]:
    if raster.georeference is None:
        yield f"{raster.name}: {raster.lacks or NO_GEOREFERENCE}; it is searched in px"
    yield from raster.remarks


def _map(stream: Stream, raster: Raster, how: dict[str, Any], threshold: float,
         journal: Journal) -> Craters:
    """The craters of one image, best first."""
    for _ in map_image(stream, raster, how["tile"], how["scales"], journal=journal,
                       progress=f"detecting in {raster.name}"):
        pass  # the journal has it: nothing is held while the network works
    parts = journal.found()
    if isinstance(raster, Around):
        parts = raster.home(parts)
    found = Craters.joined([part.select(part.scores >= threshold) for part in parts])
    return found.select(np.argsort(-found.scores, kind="stable"))


@contextmanager
def _kept_on_failure(folder: Path) -> Iterator[None]:
    """The folder of the journals; it stays where a run fails that has found something."""
    try:
        yield
        shutil.rmtree(folder, ignore_errors=True)
    except VersionGone as error:
        raise VersionGone(f"{error}; what it has found is in {folder}: have that version served "
                          "again, name it (--version-number) and give the same command to go on, "
                          "or delete the folder to start anew with another version") from None
    finally:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def _model(server: str | None, options: Mapping[str, Any] | None, model: str | Path | None
           ) -> Iterator[tuple[Stream, dict[str, Any]]]:
    """What detects, and what the model says of itself."""
    if (server is None) == (model is None):
        raise ConfigError("detect: name either a server or a model")
    if server is not None:
        from crater_model.serving.client import Client

        with Client(server, **(options or {})) as client:
            card = client.describe(pin=True)
            yield cast(Stream, client.stream), {**card, _SERVED: client.version}  # bad images raise
        return
    from crater_model.detector.detector import Detector

    assert model is not None
    detector = Detector.load(model)
    # By content: a copy on another machine is the same model, and goes on.
    files = {str(path.relative_to(model)): file_entry(path)["sha256"]
             for path in sorted(Path(model).rglob("*")) if path.is_file()}
    yield batched(detector.detect), {
        "chip_size": detector.chip_size, "scales": detector.scales,
        "stretch_percentiles": detector.stretch_percentiles,
        "files": files}


def _file_state(path: str | Path) -> dict[str, Any]:
    """What tells a file from another, or from itself once it is changed."""
    if is_remote(path):  # as far as it can be known without reading all of it
        header = read_header(path)
        return {"path": str(path), "width": header.width, "height": header.height}
    state = Path(path).stat()
    return {"path": str(path), "bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def _version(card: Mapping[str, Any]) -> dict[str, Any]:
    """What a server's model is known by to people; its digest says the rest."""
    return {"version": card[_SERVED]} if _SERVED in card else {}


def _digest(card: Mapping[str, Any]) -> str:
    said = {name: value for name, value in card.items() if name != _SERVED}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
