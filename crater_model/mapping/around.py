"""Images that go once around a body: what lies on their seam is searched whole, and once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import shapely

from crater_model.imagery.missing import MissingGround
from crater_model.imagery.raster import Raster, Window
from crater_model.mapping.craters import Craters

# An image goes around once where its width is 360 deg of longitude to this many px.
_SAME_PX = 1.0


class Around(Raster):
    """An image that goes on, on its right side, with what it shows on its left.

    A crater of up to half of what is added lies whole somewhere in it: those on the seam at the
    right end, where their centres are `home`'s to bring back.

    Attributes:
      image: the image itself.
      added: px.
    """

    def __init__(self, image: Raster, added: int):
        self.image, self.added = image, min(added, image.width)
        self.name, self.width, self.height = image.name, image.width + self.added, image.height
        self.bands, self.georeference, self.stretch = image.bands, None, image.stretch
        self.has_invalid = image.has_invalid

    @property
    def missing(self) -> MissingGround | None:
        raise NotImplementedError("the missing ground is the image's own")

    def read(self, left: int, top: int, width: int, height: int) -> Window:
        end = self.image.width
        if left >= end:
            return self.image.read(left - end, top, width, height)
        if left + width <= end:
            return self.image.read(left, top, width, height)
        parts = [self.image.read(left, top, end - left, height),
                 self.image.read(0, top, left + width - end, height)]
        pixels = np.concatenate([part.pixels for part in parts], axis=1)
        if all(part.valid is None for part in parts):
            return Window(pixels, None)
        return Window(pixels, np.concatenate(
            [np.ones(part.pixels.shape[:2], bool) if part.valid is None else part.valid
             for part in parts], axis=1))

    def home(self, found: Iterable[Craters]) -> Iterator[Craters]:
        """Each crater once and in px of the image; outlines on the seam go on beyond its
        right edge."""
        start, width = self.added / 2, self.image.width
        for craters in found:
            x = shapely.get_x(shapely.centroid(craters.outlines))
            kept = craters.select((x >= start) & (x < start + width))
            x = x[(x >= start) & (x < start + width)]
            moved = [shapely.transform(outline, lambda p: p - [width, 0]) if beyond else outline
                     for outline, beyond in zip(kept.outlines, x >= width, strict=True)]
            outlines = np.empty(len(kept), object)
            outlines[:] = moved
            yield Craters(outlines, kept.scores, kept.classes, kept.scales, kept.edge,
                          (self.height, width), kept.label_map)


def around(raster: Raster, reach: float) -> Around | None:
    """The image as one that goes on beyond its seam; None where it does not go around its body
    once, with all meridians upright.

    Args:
      reach: px, twice the largest crater that is looked for.
    """
    place = raster.georeference
    if place is None or not math.isfinite(reach):
        return None
    rows = np.array([0.25, 0.5, 0.75]) * raster.height
    ends = [place.lonlat(np.stack([np.full(3, x), rows], axis=1)) for x in (0.0, raster.width)]
    turn = ends[1] - ends[0]
    degrees_of_a_px = 360.0 / raster.width
    once = np.abs(np.abs(turn[:, 0]) - 360.0) <= _SAME_PX * degrees_of_a_px
    upright = (np.abs(turn[:, 1]) < 1e-9) & (np.ptp(ends[0][:, 0]) < 1e-9)
    return Around(raster, math.ceil(reach)) if (once & upright).all() else None
