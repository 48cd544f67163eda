"""A part of an image, as an image of its own: nothing outside of it is ever read."""

from __future__ import annotations

from crater_model.imagery.missing import MissingGround
from crater_model.imagery.raster import Raster, Window


class PartRaster(Raster):
    """The window (left, top, width, height; px) of another raster, which it closes."""

    def __init__(self, whole: Raster, left: int, top: int, width: int, height: int):
        self._whole, self._left, self._top = whole, left, top
        self.name, self.width, self.height = whole.name, width, height
        self.bands, self.has_invalid = whole.bands, whole.has_invalid
        self.stretch, self.lacks = whole.stretch, whole.lacks
        self.georeference = whole.georeference and whole.georeference.part(
            left, top, 1.0, width, height)

    @property
    def remarks(self) -> tuple[str, ...]:
        return self._whole.remarks

    @property
    def missing(self) -> MissingGround | None:
        raise NotImplementedError("the missing ground is looked at in the whole image")

    def read(self, left: int, top: int, width: int, height: int) -> Window:
        return self._whole.read(self._left + left, self._top + top, width, height)

    def close(self) -> None:
        self._whole.close()
