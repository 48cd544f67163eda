"""Tiles cover the image once merged: every crater once and only once, nested ones kept."""

import numpy as np
import pytest
from shapely.geometry import Point

from crater_model.detections import Detections
from crater_model.mapping.merge import same_crater_keep
from crater_model.mapping.outlines import outlines
from crater_model.mapping.tiles import detect_image, tile_windows


def disc(m=28):
    c = (np.arange(m) + 0.5) / m * 2 - 1
    return np.where(c[:, None]**2 + c[None]**2 < 1, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("height, width, side, overlap", [
    (300, 500, 128, 0.25), (128, 128, 128, 0.25), (90, 400, 128, 0.5), (257, 129, 128, 0.0)])
def test_tiles_cover_everything(height, width, side, overlap):
    seen = np.zeros((height, width), int)
    for y0, x0, y1, x1 in tile_windows(height, width, side, overlap):
        assert y1 - y0 == min(side, height) and x1 - x0 == min(side, width)
        seen[y0:y1, x0:x1] += 1
    assert seen.min() == 1


class Oracle:
    """Finds in a tile what is there of known circles, cut at the tile's edges."""

    def __init__(self, circles, places):
        self.circles, self.places = circles, places
        self.rng = np.random.default_rng(0)

    def __call__(self, tiles):
        return [self._tile(tile) for tile in tiles]

    def _tile(self, tile):
        height, width = tile.shape[:2]
        y0, x0 = self.places[tile.tobytes()]
        boxes, masks = [], []
        for x, y, r in self.circles:
            whole = np.array([y - r - y0, x - r - x0, y + r - y0, x + r - x0])
            box = np.clip(whole, 0, [height, width, height, width])
            share = np.prod(box[2:] - box[:2]) / np.prod(whole[2:] - whole[:2])
            if share < 0.25:
                continue
            rows = np.linspace(box[0], box[2], 29)[:-1] + (box[2] - box[0]) / 56
            columns = np.linspace(box[1], box[3], 29)[:-1] + (box[3] - box[1]) / 56
            inside = ((rows[:, None] + y0 - y)**2 + (columns[None] + x0 - x)**2) < r**2
            boxes.append(box)
            masks.append(inside * np.uint8(255))
        n = len(boxes)
        return Detections(np.array(boxes, np.float32).reshape(n, 4),
                          self.rng.uniform(0.5, 1, n).astype(np.float32), np.ones(n, np.int64),
                          np.array(masks, np.uint8).reshape(n, 28, 28), (height, width))


def test_every_crater_once():
    rng = np.random.default_rng(3)
    height, width = 300, 420
    circles = [(60, 60, 20), (64, 58, 6), (200, 128, 30), (210, 140, 8), (128, 200, 10)]
    while len(circles) < 40:
        x, y, r = rng.uniform(10, width - 10), rng.uniform(10, height - 10), rng.uniform(4, 10)
        if all(np.hypot(x - a, y - b) > r + c + 2 for a, b, c in circles):
            circles.append((x, y, r))
    image = rng.integers(0, 255, (height, width, 3)).astype(np.uint8)
    oracle = Oracle(circles, {
        np.ascontiguousarray(image[y0:y1, x0:x1]).tobytes(): (y0, x0)
        for y0, x0, y1, x1 in tile_windows(height, width, 128, 0.25)})
    found = detect_image(oracle, image, tile=128)
    assert len(found) == len(circles)
    shapes = outlines(found)
    for x, y, r in circles:
        true = Point(x, y).buffer(r)
        best = max(shape.intersection(true).area / shape.union(true).area for shape in shapes)
        assert best > (0.7 if min(x, y, width - x, height - y) < r else 0.85), (x, y, r)
    assert found.size == (height, width)
    assert (np.diff(found.scores) <= 0).all()


def test_scale_sets_the_windows():
    sizes = []

    def predict(tiles):
        sizes.extend(tile.shape[:2] for tile in tiles)
        return [Detections.empty(tile.shape[:2]) for tile in tiles]

    found = detect_image(predict, np.zeros((200, 300), np.uint8), tile=128, scales=(2.0, 0.5))
    assert set(sizes) == {(64, 64), (200, 256)} and len(found) == 0


def keep(shapes, scores, cut=None, classes=None):
    n = len(shapes)
    return same_crater_keep(shapes, np.array(scores), np.array(classes or [1] * n),
                            np.array(cut or [False] * n)).tolist()


def test_nested_craters_stay():
    assert keep([Point(0, 0).buffer(20), Point(2, 0).buffer(8)], [0.9, 0.8]) == [True, True]


def test_the_better_of_two_of_the_same_stays():
    assert keep([Point(0, 0).buffer(10), Point(1, 0).buffer(10)], [0.6, 0.8]) == [False, True]


def test_a_whole_one_wins_over_a_cut_one():
    whole = Point(0, 0).buffer(10)
    half = whole.intersection(Point(-10, 0).buffer(10))
    assert keep([whole, half], [0.6, 0.9], cut=[False, True]) == [True, False]


def test_classes_do_not_merge():
    circle = Point(0, 0).buffer(10)
    assert keep([circle, circle], [0.6, 0.8], classes=[1, 2]) == [True, True]
