"""Images in, outlines out: through a server or in this process, into a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


from crater_model.annotations.pixels import decode_image, read_file
from crater_model.detections import Detections
from crater_model.errors import ConfigError
from crater_model.mapping.tiles import detect_image
from crater_model.mapping.write import SUFFIXES, write_detections
from crater_model.progress import track


def detect_files(images: Sequence[str | Path], output: str | Path, *,
                 server: str | None = None, model: str | Path | None = None,
                 tile: int | None = None, scales: Sequence[float] | None = None,
                 threshold: float = 0.5) -> dict[str, Any]:
    """Detects in image files and writes the outlines.

    Args:
      images: PNG, JPEG or TIFF files, 8 bits, of any size.
      output: a file; the suffix decides the form (see `write.write_detections`). A
        picture takes exactly one image.
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
    output = Path(output)
    if output.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{output}: unknown suffix '{output.suffix}', expected one of "
                          f"{', '.join(SUFFIXES)}")
    if output.suffix.lower() == ".png" and len(images) != 1:
        raise ConfigError(f"{output}: a picture shows one image, got {len(images)}; "
                          "choose another suffix or name one image")
    pixels, found = find_in_files(images, server=server, model=model, tile=tile, scales=scales,
                                  threshold=threshold)
    write_detections(output, [str(path) for path in images], pixels, found)
    return {"images": len(images), "detections": sum(map(len, found)), "output": str(output)}


def find_in_files(images: Sequence[str | Path], *, server: str | None = None,
                  model: str | Path | None = None, tile: int | None = None,
                  scales: Sequence[float] | None = None, threshold: float = 0.5
                  ) -> tuple[list[np.ndarray], list[Detections]]:
    """Pixels and detections of image files; the arguments are those of `detect_files`."""
    pixels = [decode_image(read_file(Path(path)), path) for path in images]
    predict, card, close = _predictor(server, model)
    try:
        found = []
        for image in track(pixels, "detecting"):
            detections = detect_image(predict, image, tile or card["chip_size"],
                                      scales or card["scales"] or (1.0,))
            found.append(detections.select(detections.scores >= threshold))
    finally:
        close()
    return pixels, found


def _predictor(server: str | None, model: str | Path | None):
    """(predict, what the model says of itself, close)."""
    if (server is None) == (model is None):
        raise ConfigError("detect: name either a server or a model")
    if server is not None:
        from crater_model.serving.client import Client

        client = Client(server)
        card = client.describe()
        return client.detect, card, client.close
    from crater_model.detector.detector import Detector

    detector = Detector.load(model)
    card = {"chip_size": detector.chip_size, "scales": detector.scales}
    return detector.detect, card, lambda: None


