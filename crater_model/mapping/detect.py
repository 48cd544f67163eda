"""Images in, outlines out: through a server or in this process, into files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crater_model.annotations.raster import open_raster, read_header, read_whole
from crater_model.annotations.stretch import PERCENTILES
from crater_model.errors import ConfigError
from crater_model.mapping.tiles import detect_image
from crater_model.mapping.write import SUFFIXES, write_detections
from crater_model.progress import track


def detect_files(images: Sequence[str | Path], output: str | Path | Sequence[Path], *,
                 server: str | None = None, model: str | Path | None = None,
                 tile: int | None = None, scales: Sequence[float] | None = None,
                 threshold: float = 0.5) -> dict[str, Any]:
    """Detects in image files and writes the outlines.

    Args:
      images: image files of any kind and size (see `annotations.raster`), read in windows;
        more than 8 bits are stretched as the model's training images were.
      output: a file, or several; the suffix decides the form (see
        `write.write_detections`). A picture takes exactly one image.
      server: HOST:PORT[,...] of TF Serving or `crater serve`; or
      model: a model directory or SavedModel to run in this process.
      tile: side in px of the network's input; scales: network px per image px. What the
        model says of itself, if None.
      threshold: the lowest score that is kept, 0..1.

    Returns:
      `images`, `detections` (counts) and `output`.

    Raises:
      ConfigError: an unknown suffix, or a picture of several images.
      DataError: an image cannot be read. ServingError: the server does not answer.
    """
    outputs = [Path(output)] if isinstance(output, (str, Path)) else list(output)
    for path in outputs:
        if path.suffix.lower() not in SUFFIXES:
            raise ConfigError(f"{path}: unknown suffix '{path.suffix}', expected one of "
                              f"{', '.join(SUFFIXES)}")
        if _is_picture(path) and len(images) != 1:
            raise ConfigError(f"{path}: a picture shows one image, got {len(images)}; "
                              "choose another suffix or name one image")
    for path in images:
        read_header(path)
    found, pixels = [], []
    with _predictor(server, model) as (predict, card):
        percentiles = tuple(card.get("stretch_percentiles", PERCENTILES))
        for path in track(images, "detecting"):
            with open_raster(path, percentiles) as raster:
                detections = detect_image(predict, raster, tile or card["chip_size"],
                                          scales or card["scales"] or (1.0,))
                if any(map(_is_picture, outputs)):
                    pixels.append(read_whole(raster))
            found.append(detections.select(detections.scores >= threshold))
    for path in outputs:
        write_detections(path, [str(image) for image in images], pixels, found)
    return {"images": len(images), "detections": sum(map(len, found)),
            "output": ", ".join(map(str, outputs))}


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() == ".png"


@contextmanager
def _predictor(server: str | None, model: str | Path | None
               ) -> Iterator[tuple[Callable, dict[str, Any]]]:
    """What detects, and what the model says of itself."""
    if (server is None) == (model is None):
        raise ConfigError("detect: name either a server or a model")
    if server is not None:
        from crater_model.serving.client import Client

        with Client(server) as client:
            yield client.detect, client.describe()
        return
    from crater_model.detector.detector import Detector

    detector = Detector.load(model)
    yield detector.detect, {"chip_size": detector.chip_size, "scales": detector.scales,
                            "stretch_percentiles": detector.stretch_percentiles}
