"""Sample pictures of a report: craters in the full resolution of their images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely

from crater_model.imagery.raster import Raster
from crater_model.mapping.craters import Craters
from crater_model.mapping.formats.picture import drawn
from crater_model.mapping.maps import Map
from crater_model.pictures.drawing import class_color, encode_picture, overlay, sheet

# Craters of each kind, and the side of each one's picture, px.
_EACH, _CELL = 4, 220
# A window is so many diameters wide, within these sides in px of the image.
_DIAMETERS, _LEAST, _MOST = 2.2, 48, 4096
_BYTES = 250_000


def samples(maps: Sequence[Map]) -> Iterator[tuple[str, bytes]]:
    """Yields titles and PNGs: the largest craters, those of the middle size, and those of the
    lowest score; of images that can be opened, only windows of which are read."""
    shown = [(entry, index) for entry in maps if entry.open is not None
             for index in range(len(entry.craters))]
    if not shown:
        return
    sizes = np.array([entry.table["diameter_px"].iat[i] for entry, i in shown])
    scores = np.array([entry.craters.scores[i] for entry, i in shown])
    by_size = np.argsort(-sizes, kind="stable")
    middle = max(0, (len(shown) - _EACH) // 2)
    for title, chosen in (("The largest", by_size[:_EACH]),
                          ("Of middle size", by_size[middle:middle + _EACH]),
                          ("The faintest: of the lowest score", np.argsort(scores)[:_EACH])):
        cells = [_cell(*shown[number]) for number in chosen]
        yield title, encode_picture(sheet(cells, _EACH), _BYTES)


def _cell(entry: Map, index: int) -> np.ndarray:
    assert entry.open is not None
    with entry.open() as raster:
        x, y, diameter = entry.table[["x_px", "y_px", "diameter_px"]].iloc[index]
        return _window(raster, entry.craters, index, (x, y), _DIAMETERS * diameter)


def _window(raster: Raster, craters: Craters, index: int, centre: tuple[float, float],
            side: float) -> np.ndarray:
    """A square of about `side` px around a place of the image, with the outlines there, that
    of one crater thicker."""
    limits = (raster.width, raster.height)
    width, height = (int(min(max(side, _LEAST), _MOST, limit)) for limit in limits)
    left, top = (int(min(max(at - extent / 2, 0), limit - extent))
                 for at, extent, limit in zip(centre, (width, height), limits, strict=True))
    image = raster.read(left, top, width, height).pixels
    boxes = shapely.bounds(craters.outlines)
    there = ((boxes[:, 0] < left + width) & (boxes[:, 2] > left)
             & (boxes[:, 1] < top + height) & (boxes[:, 3] > top))
    zoom = _CELL / max(width, height)
    picture = drawn(image, craters.select(there), corner=(left, top), zoom=zoom)
    ring = np.asarray(craters.outlines[index].exterior.coords) - (left, top)
    color = class_color(int(craters.classes[index]))
    return overlay(picture, [ring * zoom], color=color, thickness=3)
