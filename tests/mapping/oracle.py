"""A field of known craters, and an oracle in the model's place that finds what a tile shows.

Each crater is given as it is seen in a tile: cut where the tile ends, its edges off by up to a
pixel of the network, scored at random; a crater that is too small at the tile's scale is not
found. So mapping the field has one right result: every crater once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import shapely

from crater_model.detections import Detections
from crater_model.imagery.raster import Raster, Window
from crater_model.mapping.sweep import OVERLAP
from crater_model.mapping.tiles import Tile, plan

TILE, SCALES = 256, (1.0, 0.5, 0.25, 0.125)
# Diameters, px: few large ones, as on the Moon; the largest fits where the coarsest tiles overlap.
SMALLEST, LARGEST = 10.0, 480.0
# A detection is as large as this on the network's input, px, and shows this share of its crater.
SEEN_PX, SEEN_SHARE = 8.0, 0.25
# The oracle reads from an image's pixels where it is; so large may the image be, px.
_CELL, _MOST = 64, 8192


def field(height: int, width: int, count: int, seed: int = 0,
          largest: float = LARGEST) -> np.ndarray:
    """Craters x, y, rx, ry, float64 [count, 4] in px, the largest first.

    Two of like size overlap by little; one much smaller may lie anywhere, also inside.
    """
    rng = np.random.default_rng((height, width, count, seed))
    share = rng.uniform((SMALLEST / largest)**2, 1, count)
    radii = np.sort(SMALLEST / 2 / np.sqrt(share))[::-1]
    x, y, placed = np.empty(count), np.empty(count), 0
    while placed < count:
        r = radii[placed]
        x[placed], y[placed] = rng.uniform(0, width), rng.uniform(0, height)
        alike = radii[:placed] < 3 * r
        distance = np.hypot(x[:placed] - x[placed], y[:placed] - y[placed])
        placed += not (alike & (distance < 0.95 * (radii[:placed] + r))).any()
    flat = rng.uniform(0.9, 1.0, (count, 2))
    return np.stack([x, y, radii * flat[:, 0], radii * flat[:, 1]], axis=1)


def truth(craters: np.ndarray, height: int, width: int) -> np.ndarray:
    """The craters' outlines as far as they lie in the image: shapely polygons [n], px."""
    turn = np.linspace(0, 2 * np.pi, 65)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    rings = craters[:, None, :2] + craters[:, None, 2:] * circle
    return shapely.intersection(shapely.polygons(rings), shapely.box(0, 0, width, height))


def places(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pixels, uint8 [h, w], of which any two neighbours in a row tell roughly where they are."""
    even = (x[None] + y[:, None]) % 2 == 0
    return np.where(even, x[None] // _CELL, 128 + y[:, None] // _CELL).astype(np.uint8)


class Places(Raster):
    """An image of `places` that exists only where it is read."""

    bands = 1

    def __init__(self, height: int, width: int):
        self.name, self.height, self.width = "places", height, width

    def read(self, left: int, top: int, width: int, height: int) -> Window:
        return Window(places(left + np.arange(width), top + np.arange(height)), None)


class Oracle:
    """Stands for a network over an image of `places`; `stream` is what mapping asks.

    Attributes:
      tiles: those that mapping asks for, in its order.
    """

    def __init__(self, craters: np.ndarray, height: int, width: int, tile: int = TILE,
                 scales: Sequence[float] = SCALES, mask: int = 28):
        if max(height, width) > _MOST:
            raise ValueError(f"the image is {width}x{height} px, expected at most {_MOST}")
        self.craters, self.size, self._mask = craters, (height, width), mask
        low, high = craters[:, :2] - craters[:, 2:], craters[:, :2] + craters[:, 2:]
        # As ymin, xmin, ymax, xmax; beyond the image nothing is there to be seen.
        self._boxes = np.clip(np.concatenate([low[:, ::-1], high[:, ::-1]], axis=1), 0,
                              [height, width, height, width])
        self._tree = shapely.STRtree(shapely.box(*self._boxes[:, [1, 0, 3, 2]].T))
        self.tiles = [one for band in plan(height, width, tile, scales, OVERLAP)
                      for one in band.tiles()]
        self._tiles = {_key(t.y0, t.x0, t.y1 - t.y0, t.x1 - t.x0): t for t in self.tiles}

    def stream(self, images: Iterable[np.ndarray]) -> Iterator[Detections]:
        for image in images:
            yield self.look(self._tiles[_whereabouts(image)])

    def look(self, tile: Tile) -> Detections:
        """What a network might find in this tile, in px of the tile."""
        rng = np.random.default_rng(tile.number)
        window = np.array([tile.y0, tile.x0, tile.y1, tile.x1], float)
        near = np.sort(self._tree.query(shapely.box(tile.x0, tile.y0, tile.x1, tile.y1)))
        whole = self._boxes[near]
        seen = np.clip(whole, [*window[:2]] * 2, [*window[2:]] * 2)
        sides, all_of_it = seen[:, 2:] - seen[:, :2], whole[:, 2:] - whole[:, :2]
        shown = ((sides.prod(axis=1) >= SEEN_SHARE * all_of_it.prod(axis=1))
                 & (sides.min(axis=1) * tile.scale >= SEEN_PX / 2)
                 & (all_of_it.max(axis=1) * tile.scale >= SEEN_PX))
        near, seen = near[shown], seen[shown]
        masks = self._masks(near, seen)
        boxes = seen - [*window[:2]] * 2 + rng.uniform(-1, 1, seen.shape) / tile.scale
        boxes = np.clip(boxes, 0, [*(window[2:] - window[:2])] * 2)
        scores = rng.uniform(0.5, 1.0, len(near)).astype(np.float32)
        found = Detections(boxes.astype(np.float32), scores, np.ones(len(near), np.int64), masks,
                           (tile.y1 - tile.y0, tile.x1 - tile.x0))
        return found.select(np.argsort(-scores, kind="stable"))

    def _masks(self, near: np.ndarray, seen: np.ndarray) -> np.ndarray:
        cells = (np.arange(self._mask) + 0.5) / self._mask
        y, x = (seen[:, None, i] + cells * (seen[:, i + 2] - seen[:, i])[:, None]
                for i in (0, 1))
        cx, cy, rx, ry = (column[:, None] for column in self.craters[near].T)
        inside = (((y - cy) / ry)**2)[:, :, None] + (((x - cx) / rx)**2)[:, None] < 1
        return inside * np.uint8(255)


def _key(y0: int, x0: int, height: int, width: int) -> tuple[int, int, int, int]:
    return y0 // _CELL, x0 // _CELL, height, width


def _whereabouts(image: np.ndarray) -> tuple[int, int, int, int]:
    x, y = sorted(int(value) for value in image[0, :2])
    return y - 128, x, *image.shape[:2]


def lost_and_doubled(wanted: np.ndarray, outlines: np.ndarray) -> dict[str, int]:
    """How many of the wanted outlines have none of their own, and how many are of no wanted one.

    An outline is of the crater that it shares most with, by an IoU of 0.25 at least: those of
    two craters share less.
    """
    found, crater = shapely.STRtree(wanted).query(outlines)
    shared = shapely.area(shapely.intersection(outlines[found], wanted[crater]))
    iou = shared / (shapely.area(outlines)[found] + shapely.area(wanted)[crater] - shared)
    best = np.argsort(iou, kind="stable")
    of = np.full(len(outlines), -1)
    of[found[best]] = np.where(iou[best] >= 0.25, crater[best], -1)  # the best one comes last
    times = np.bincount(of[of >= 0], minlength=len(wanted))
    return {"lost": int((times == 0).sum()), "doubled": int((times - 1).clip(0).sum()),
            "of_none": int((of < 0).sum())}


def nested(craters: np.ndarray) -> np.ndarray:
    """Which craters lie wholly inside another: bool [n]."""
    outlines = shapely.polygons(craters[:, None, :2] + craters[:, None, 2:] * [
        [np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 33)])
    inner, outer = shapely.STRtree(outlines).query(outlines, predicate="within")
    lies_in = np.zeros(len(craters), bool)
    lies_in[inner[inner != outer]] = True
    return lies_in
