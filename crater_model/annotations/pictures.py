"""Pictures of labelled images: outlines over the pixels, contact sheets, size histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from crater_model.annotations.scene import Dataset, Scene
from crater_model.imagery.previews import preview
from crater_model.pictures.drawing import (
    INLINE_BYTES,
    OUTLINE,
    Color,
    class_color,
    figure,
    fit_png,
    overlay,
    sheet,
    size_histogram,
)

# Where the windows of a large image lie, as shares of the room that they have.
_PLACES = ((0.5, 0.5), (0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8), (0.5, 0.1), (0.5, 0.9),
           (0.1, 0.5), (0.9, 0.5))


def contact_sheet(dataset: Dataset, n: int = 6, columns: int = 3, cell: int = 240,
                  max_bytes: int | None = INLINE_BYTES) -> bytes:
    """A PNG with `n` images spread over the data set, their outlines drawn.

    Of an image that is large beside its craters the middle is shown, and where there are
    few such images other places as well.
    """
    picks = np.unique(np.linspace(0, len(dataset.scenes) - 1, min(n, len(dataset.scenes)))
                      .round().astype(int))
    diameters = [i.diameter for scene in dataset.scenes for i in scene.instances]
    window = max(160.0, 12 * float(np.median(diameters or [0])))
    each = min(len(_PLACES), max(1, n // max(1, len(picks))))
    parts = [part for pick in picks
             for part in _windows(dataset, dataset.scenes[pick], window, each)]
    return fit_png(lambda side: sheet([
        overlay(image, rings, color=colors, zoom=side / max(image.shape[:2]))
        for image, rings, colors in parts], columns), cell, max_bytes)


def side_by_side(dataset: Dataset, pairs: Sequence[tuple[str, str]], side: int = 240,
                 max_bytes: int | None = None) -> bytes:
    """A PNG with a row for each pair of file names: both whole images, outlines drawn."""
    scenes = {scene.file_name: scene for scene in dataset.scenes}
    parts = [_whole(dataset, scenes[name], side) for pair in pairs for name in pair]
    return fit_png(lambda size: sheet([
        overlay(image, rings, color=colors, zoom=size / max(image.shape[:2]))
        for image, rings, colors in parts], 2), side, max_bytes)


def diameter_histogram(dataset: Dataset) -> bytes:
    """A PNG of how many objects there are by diameter (px), in bins of sqrt(2)."""
    by_class = {number: [i.diameter for scene in dataset.scenes for i in scene.instances
                         if i.class_id == number] for number in dataset.label_map}
    labels = [f"{dataset.label_map[n]}: {len(v)}" for n, v in by_class.items()]
    return size_histogram(list(by_class.values()), "diameter (px)", labels,
                           [class_color(number) for number in by_class])


def km_histogram(diameters: Sequence[float]) -> bytes:
    """A PNG of how many objects there are by diameter on the ground (km), likewise."""
    return size_histogram([list(diameters)], "diameter (km)", [f"known: {len(diameters)}"],
                           [OUTLINE])


def count_histogram(dataset: Dataset) -> bytes:
    """A PNG of how many images hold how many labels."""
    counts = [len(scene.instances) for scene in dataset.scenes]
    most = max(counts, default=0)
    width = max(1, math.ceil((most + 1) / 40))

    def draw(axes) -> None:
        axes.hist(counts, bins=np.arange(0, most + 1 + width, width) - 0.5,
                  color=np.array(OUTLINE) / 255)
        axes.set(xlabel="labels in an image", ylabel="images")
    return figure(draw)


Part = tuple[np.ndarray, list[np.ndarray], list[Color]]


def _windows(dataset: Dataset, scene: Scene, window: float, most: int) -> list[Part]:
    """Up to `most` windows of `window` px of a scene (one of a small scene), the outlines on
    them and their colours; no more of it is read."""
    height, width = (int(min(side, window)) for side in (scene.height, scene.width))
    if max(scene.height, scene.width) <= 2 * window:
        most = 1
    parts = []
    with dataset.open_image(scene) as raster:
        for across, down in _PLACES[:most]:
            left, top = int(across * (scene.width - width)), int(down * (scene.height - height))
            image = raster.read(left, top, width, height).pixels
            parts.append(_with_outlines(scene, image, (left, top), 1.0))
    return parts


def _whole(dataset: Dataset, scene: Scene, side: int) -> Part:
    """A scene at `side` px at most, the outlines on it and their colours."""
    with dataset.open_image(scene) as raster:
        image = preview(raster, side).grey
    scale = np.array(image.shape[::-1]) / (scene.width, scene.height)
    return _with_outlines(scene, image, (0, 0), scale)


def _with_outlines(scene: Scene, image: np.ndarray, corner: tuple[int, int], scale) -> Part:
    """The part of a scene that has its corner there, with the outlines that reach into it;
    `scale` (x, y) is its px per px of the scene."""
    (right, bottom), (left, top) = corner + np.array(image.shape[1::-1]) / scale, corner
    seen = [i for i in scene.instances
            if i.box[0] < bottom and i.box[2] > top and i.box[1] < right and i.box[3] > left]
    pairs = [((ring - corner) * scale, class_color(instance.class_id))
             for instance in seen for ring in instance.rings]
    return image, [ring for ring, _ in pairs], [color for _, color in pairs]


