"""Pictures as people look at them: outlines over pixels, sheets, small plots, PNG bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

# Room for a picture inside a web page's metadata, base64 included: about 100 kB.
INLINE_BYTES = 74_000

Color = tuple[int, int, int]
OUTLINE: Color = (255, 176, 0)
# Class 1, 2, ... where there are several (Okabe and Ito's colours, told apart by everyone).
CLASS_COLORS: tuple[Color, ...] = (
    OUTLINE, (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))

_SUBPIXEL_BITS = 4
_GAP = 4
_GREYS = 17
_LEGEND_PX = 20


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
            line = color if np.ndim(color) == 1 else color[number]  # type: ignore[assignment]
        cv2.polylines(picture, [np.rint(points).astype(np.int32)], True,
                      tuple(int(c) for c in line), thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    return picture


def class_color(class_id: int) -> Color:
    """RGB for a class of the label map (1 is the first)."""
    return CLASS_COLORS[(class_id - 1) % len(CLASS_COLORS)]


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


def legend(picture: np.ndarray, names: Sequence[tuple[str, Color]]) -> np.ndarray:
    """The RGB picture with a line below it: what each colour of an outline stands for."""
    line = np.full((_LEGEND_PX, picture.shape[1], 3), 255, np.uint8)
    x = _GAP
    for name, color in names:
        cv2.line(line, (x, _LEGEND_PX // 2), (x + _LEGEND_PX, _LEGEND_PX // 2), color, 2)
        x += _LEGEND_PX + _GAP
        cv2.putText(line, name, (x, _LEGEND_PX - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1,
                    cv2.LINE_AA)
        x += cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0] + 4 * _GAP
    return np.concatenate([picture, line])


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


def figure(draw: Callable) -> bytes:
    """PNG bytes of a small figure with what `draw(axes)` draws."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(5.2, 2.8), dpi=100, layout="constrained")
    draw(drawing.add_subplot())
    out = io.BytesIO()
    drawing.savefig(out, format="png")
    return out.getvalue()


def size_histogram(values: list[list[float]], label: str, names: list[str],
                   colors: list[Color]) -> bytes:
    """PNG bytes of how many things there are by size, in bins of sqrt(2).

    Args:
      values: the sizes, a list for each stacked part; label: of their axis, with the unit.
      names, colors: of the parts.
    """
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


def _quantize(picture: Image.Image, colors: int) -> Image.Image:
    """Few colours, chosen by the picture, and the outlines' own, which are thin and would
    otherwise be lost among the greys; with greys from black to white, so that a shadow or a bright
    slope that was not chosen is nearest to one of them and never to an outline's colour."""
    chosen = (picture.quantize(colors).getpalette() or [])[:3 * colors]
    greys = [round(grey) for grey in np.linspace(0, 255, _GREYS) for _ in range(3)]
    palette = Image.new("P", (1, 1))
    palette.putpalette(chosen + greys + [value for color in CLASS_COLORS for value in color])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _score_color(score: float) -> Color:
    score = min(max(score, 0.0), 1.0)
    return (round(255 * min(1.0, 2 - 2 * score)), round(255 * min(1.0, 2 * score)), 0)
