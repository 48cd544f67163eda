"""What an image is that is read in windows: its pixels, its place, and where it has data."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.missing import MissingGround, find_missing, without_specks
from crater_model.imagery.stretch import Stretch

# What has to be decoded in one piece may take this much (bytes): a whole PNG or JPEG, or
# one block of a TIFF.
WHOLE_BYTES = 300 * 2**20


class Window(NamedTuple):
    """A piece of an image.

    Attributes:
      pixels: uint8 [h, w] (grey) or [h, w, 3] (RGB); 0 where ground is missing.
      valid: bool [h, w], False where ground is missing (see `missing`); None: nowhere.
    """

    pixels: np.ndarray
    valid: np.ndarray | None


class Raster:
    """An image open for reading. Use it as a context manager.

    Attributes:
      name: what messages call it.
      width, height: px.
      bands: 1 (grey) or 3 (RGB).
      georeference: its place on a body, or None.
      stretch: how its values become 8 bits; None where they are 8 bits.
      has_invalid: whether some pixels may have no data.
      lacks: what is missing for a georeference, in words ("has no georeference"); "" with one.
    """

    name: str | Path
    width: int
    height: int
    bands: int
    georeference: Georeference | None = None
    stretch: Stretch | None = None
    has_invalid: bool = False
    lacks: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What its user should know of how its values or its place were read, each a line that
        names it."""
        return ()

    @property
    def missing(self) -> MissingGround | None:
        """Its missing ground, for which all of it is looked at once; None: it has none.

        Raises:
          DataError: the file is broken.
        """
        return None

    def read(self, left: int, top: int, width: int, height: int) -> Window:
        """The window of this size (px) whose upper left pixel is (left, top); it must lie
        inside the image.

        Raises:
          DataError: the file is broken there.
        """
        raise NotImplementedError

    def close(self) -> None:
        pass

    def __enter__(self) -> Raster:
        return self

    def __exit__(self, *_) -> None:
        self.close()


class ArrayRaster(Raster):
    """Pixels that are in memory: uint8 [h, w] or [h, w, 3].

    `empty`, bool [h, w], says which have no data; None: all have.
    """

    def __init__(self, pixels: np.ndarray, name: str | Path = "image",
                 georeference: Georeference | None = None, empty: np.ndarray | None = None):
        self.name = name
        if georeference is not None:
            self.georeference = georeference
        self.height, self.width = pixels.shape[:2]
        self.bands = 1 if pixels.ndim == 2 else 3
        self.pixels, self._missing, self._valid = pixels, None, None
        if empty is not None and empty.any():
            self._missing = find_missing(self.width, self.height, [(0, empty)])
            gone = self._missing.at(empty, 0, 0)
            self._valid = ~gone if gone.any() else None
            self.has_invalid = self._valid is not None
            self.pixels = without_specks(pixels, empty, gone)
            if gone.any():
                self.pixels = self.pixels.copy()
                self.pixels[gone] = 0

    @property
    def missing(self) -> MissingGround | None:
        return self._missing

    def read(self, left: int, top: int, width: int, height: int) -> Window:
        there = slice(top, top + height), slice(left, left + width)
        valid = None if self._valid is None else self._valid[there]
        return Window(self.pixels[there], valid)


def read_whole(raster: Raster) -> np.ndarray:
    """All pixels, uint8 [h, w] or [h, w, 3]; DataError where they are too many for that."""
    if raster.width * raster.height * raster.bands > WHOLE_BYTES:
        raise DataError(f"{raster.name}: {raster.width}x{raster.height} px are too many to be read "
                        "at once; cut it with crater dataset chips")
    return raster.read(0, 0, raster.width, raster.height).pixels


def filled(window: Window) -> np.ndarray:
    """The window's pixels; those without data take the mean of the others in each band.

    A detector standardises what it is given by its mean and deviation, so that this is
    what it makes of the padding around a small image.
    """
    pixels, valid = window
    if valid is None or valid.all() or not valid.any():
        return pixels
    pixels = pixels.copy()
    pixels[~valid] = np.round(pixels[valid].mean(axis=0)).astype(np.uint8)
    return pixels
