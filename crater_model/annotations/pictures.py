"""Pictures of labelled images: outlines over the pixels, contact sheets, size histograms."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from crater_model.annotations.dataset import Dataset, Scene
from crater_model.annotations.ground.previews import preview

# Room for a picture inside a web page's metadata, base64 included: about 100 kB.
INLINE_BYTES = 74_000

Color = tuple[int, int, int]
OUTLINE: Color = (255, 176, 0)
# Class 1, 2, ... where there are several (Okabe and Ito's colours, told apart by everyone).
CLASS_COLORS: tuple[Color, ...] = (
    OUTLINE, (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))

_SUBPIXEL_BITS = 4
_GAP = 4
# Where the windows of a large image lie, as shares of the room that they have.
_PLACES = ((0.5, 0.5), (0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8), (0.5, 0.1), (0.5, 0.9),
           (0.1, 0.5), (0.9, 0.5))


def overlay(image: np.ndarray, rings: Sequence[np.ndarray], scores: Sequence[float] | None = None,
            color: Color | Sequence[Color] = OUTLINE, zoom: float = 1.0,
            thickness: int = 1) -> np.ndarray:
    """Draws outlines over an image.

    Args:
      image: uint8 [h, w] or [h, w, 3].
      rings: outlines [n, 2], x and y in px of `image`.
      scores: 0..1 for each ring; the colour then runs from red (0) over yellow to
        green (1) instead of `color`.
      color: RGB, one for all or one a ring.
      zoom: px of the picture per px of the image; lines stay thin.
      thickness: line width in px of the picture.

    Returns:
      uint8 RGB [round(h * zoom), round(w * zoom), 3].
    """
    picture = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    height, width = (max(1, round(side * zoom)) for side in image.shape[:2])
    if (height, width) != image.shape[:2]:
        how = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
        picture = cv2.resize(picture, (width, height), interpolation=how)
    picture = np.ascontiguousarray(picture).copy()
    factor = np.array([width / image.shape[1], height / image.shape[0]])
    for number, ring in enumerate(rings):
        # OpenCV puts whole numbers at the middle of a pixel, this package at its corner.
        points = (np.asarray(ring) * factor - 0.5) * 2**_SUBPIXEL_BITS
        if scores is not None:
            line = _score_color(float(scores[number]))
        else:
            line = color if np.ndim(color) == 1 else color[number]
        cv2.polylines(picture, [np.rint(points).astype(np.int32)], True,
                      tuple(int(c) for c in line), thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    return picture


def class_color(class_id: int) -> Color:
    """RGB for a class of the label map (1 is the first)."""
    return CLASS_COLORS[(class_id - 1) % len(CLASS_COLORS)]


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


def sheet(pictures: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Puts RGB pictures side by side on white, `columns` in a row."""
    if not pictures:
        return np.full((16, 16, 3), 255, np.uint8)
    columns = max(1, min(columns, len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    height, width = (max(picture.shape[i] for picture in pictures) + _GAP for i in (0, 1))
    page = np.full((rows * height - _GAP, columns * width - _GAP, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        y, x = number // columns * height, number % columns * width
        page[y:y + picture.shape[0], x:x + picture.shape[1]] = picture
    return page


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
    return _size_histogram(list(by_class.values()), "diameter (px)", labels,
                           [class_color(number) for number in by_class])


def km_histogram(diameters: Sequence[float]) -> bytes:
    """A PNG of how many objects there are by diameter on the ground (km), likewise."""
    return _size_histogram([list(diameters)], "diameter (km)", [f"known: {len(diameters)}"],
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


def _size_histogram(values: list[list[float]], label: str, names: list[str],
                    colors: list[Color]) -> bytes:
    everything = [d for part in values for d in part] or [1.0]
    low, high = math.floor(2 * math.log2(min(everything))), 2 * math.log2(max(everything))
    edges = 2.0 ** (np.arange(low, math.floor(high) + 2) / 2)

    def draw(axes) -> None:
        axes.hist(values, bins=edges, stacked=True, label=names,
                  color=[np.array(color) / 255 for color in colors])
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(xlabel=label, ylabel="count")
        axes.legend(frameon=False)
    return figure(draw)


def figure(draw: Callable) -> bytes:
    """PNG bytes of a small figure with what `draw(axes)` draws."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(5.2, 2.8), dpi=100, layout="constrained")
    draw(drawing.add_subplot())
    out = io.BytesIO()
    drawing.savefig(out, format="png")
    return out.getvalue()


def encode_picture(picture: np.ndarray, max_bytes: int | None = INLINE_BYTES) -> bytes:
    """PNG bytes of an RGB picture, with fewer colours and then fewer px until it fits."""
    def draw(side: int) -> np.ndarray:
        zoom = side / max(picture.shape[:2])
        return picture if zoom == 1 else overlay(picture, [], zoom=zoom)

    return fit_png(draw, max(picture.shape[:2]), max_bytes)


def fit_png(draw: Callable[[int], np.ndarray], side: int,
            max_bytes: int | None = INLINE_BYTES) -> bytes:
    """PNG bytes of `draw(side)`, an RGB picture, with fewer colours and then a smaller
    `side` (px) until at most `max_bytes` are left; None keeps it as it is."""
    data = _png(Image.fromarray(draw(side)))
    while max_bytes is not None and len(data) > max_bytes and side > 16:
        picture = Image.fromarray(draw(side))
        for colors in (96, 24):
            data = _png(_quantize(picture, colors))
            if len(data) <= max_bytes:
                return data
        side = int(side * min(0.93, max(0.5, math.sqrt(max_bytes / len(data)))))
    return data


def _quantize(picture: Image.Image, colors: int) -> Image.Image:
    """Few colours, chosen by the picture, and the outlines' own, which are thin and would
    otherwise be lost among the greys."""
    chosen = picture.quantize(colors).getpalette()[:3 * colors]
    palette = Image.new("P", (1, 1))
    palette.putpalette(chosen + [value for color in CLASS_COLORS for value in color])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


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


def _score_color(score: float) -> Color:
    score = min(max(score, 0.0), 1.0)
    return (round(255 * min(1.0, 2 - 2 * score)), round(255 * min(1.0, 2 * score)), 0)
