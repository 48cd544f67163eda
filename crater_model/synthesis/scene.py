"""One rendered scene with its rims."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from shapely import Polygon, box

from crater_model.errors import ConfigError
from crater_model.synthesis.craters import Crater, draw_craters
from crater_model.synthesis.light import brightness, photograph, sunlit
from crater_model.synthesis.relief import (
    Ground,
    cut_crater,
    fractal,
    small_pits,
    smooth_fractal,
    surviving,
)

MARGIN = 24  # px of ground around the scene, for relief and shadows that reach into it
MIN_SIZE, MAX_SIZE = 16, 8192  # px a side; a larger ground would not fit in memory
STANDING = 0.65  # a crater keeps its label while this share of its crest stands
SUNLIT = 0.3  # and of that crest this share is not in shadow (its own never hides so much)
INSIDE = 0.5  # and this share of its area lies in the scene, as in chips


@dataclass(frozen=True)
class Rendered:
    """A rendered scene.

    Attributes:
      image: uint8 [h, w].
      rims: crest outlines clipped to the image, float64 [n, 2], x and y in px.
      depths: depth / diameter of each.
      sun: (azimuth, elevation) of the light, deg; azimuth from +x towards +y.
    """

    image: np.ndarray
    rims: list[np.ndarray]
    depths: list[float]
    sun: tuple[float, float]


def render_scene(seed: int | tuple[int, ...], width: int = 256, height: int = 256, *,
                 count: int | None = None) -> Rendered:
    """Renders terrain and its labels.

    Labelled: every crater of at least 8 px (`MIN_DIAMETER`) whose depth still shows at
    this sun, of whose crest two thirds stand and 30 % is in the sun, and of whose area half is
    in the image; a label is the full outline, also where a later crater cut it. Craters
    of 2 to 4.6 px are there as unlabelled texture; between the two sizes there are none.

    Args:
      seed: the same seed and size give the same picture.
      width, height: px, 16 to 8192.
      count: craters to draw; some of them are hidden by later ones or lie outside. None
        draws a number fit for the area (3 to 60 in 256 x 256 px, rarely the many); 0
        renders a scene without craters. In a crowd diameters shrink, down to 6 px, so
        that the craters find room: 800 in 256 x 256 px leave over 600 labels.

    Raises:
      ConfigError: size or count out of range.
    """
    check_size(width, height, count)
    rng = np.random.default_rng(seed)
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.radians(rng.uniform(9, 52))
    if count is None:
        count = _number(rng, width, height)
    # Shading is slope / tan(elevation): under a high sun a shallow crater does not show.
    shallowest = max(0.06, 0.1 * np.tan(elevation))
    craters = draw_craters(rng, width, height, count, shallowest)

    ground = _ground(rng, width, height, craters)
    lit = sunlit(ground.height, azimuth, elevation)
    light = brightness(ground.height, lit, azimuth, elevation) * ground.albedo
    image = photograph(rng, light[MARGIN:-MARGIN, MARGIN:-MARGIN])

    rims, depths = [], []
    for crater, standing in zip(craters, surviving(craters), strict=True):
        rim = crater.rim()
        if standing < STANDING or _sample(lit, rim + MARGIN).mean() < SUNLIT:
            continue
        if (part := _clip(rim, width, height)) is not None:
            rims.append(part)
            depths.append(crater.depth)
    sun = float(np.degrees(azimuth)), float(np.degrees(elevation))
    return Rendered(image, rims, depths, sun)


def check_size(width: int, height: int, count: int | None = None) -> None:
    """Raises ConfigError unless a scene can have this size (px) and crater count."""
    if not MIN_SIZE <= min(width, height) <= max(width, height) <= MAX_SIZE:
        raise ConfigError(f"size {width}x{height}: expected {MIN_SIZE} to {MAX_SIZE} px a side")
    if count is not None and count < 0:
        raise ConfigError(f"count {count}: expected 0 or more")


def _ground(rng, width: int, height: int, craters: list[Crater]) -> Ground:
    shape = height + 2 * MARGIN, width + 2 * MARGIN
    swells = smooth_fractal(rng, *shape, hurst=0.9, longest=max(shape), shortest=12)
    shades = smooth_fractal(rng, *shape, hurst=0.3, longest=max(shape), shortest=8)
    shades *= np.float32(rng.uniform(0.01, 0.04) / shades.std())
    ground = Ground(swells * np.float32(_between(rng, 0.02, 0.09)),
                    np.ones(shape, np.float32), 1 + shades, MARGIN)
    for crater in craters:
        cut_crater(rng, ground, crater)
    fine = fractal(rng, *shape, hurst=0.75, longest=24, shortest=2.5)
    ground.height += fine * ground.rough * np.float32(_between(rng, 0.012, 0.05))
    ground.height += small_pits(rng, *shape, share=_between(rng, 1.2e-3, 9e-3))
    cv2.GaussianBlur(ground.height, (0, 0), 0.5, dst=ground.height)
    return ground


def _between(rng, low: float, high: float) -> float:
    """A draw that is even on a log scale."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _number(rng, width: int, height: int) -> int:
    """A power-law number of craters: 3 to 60 in 256 x 256 px, about 9 in the middle."""
    low, high, slope = 3.0, 60.0, 0.9
    part = rng.uniform()
    number = (low**-slope - part * (low**-slope - high**-slope)) ** (-1 / slope)
    return max(1, int(round(number * 1.5 * width * height / 256**2)))


def _sample(values: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The cells of `values` that points [n, 2] (x, y) lie in, or the nearest ones."""
    last = np.array(values.shape[::-1]) - 1
    column, row = np.clip(np.floor(points), 0, last).astype(int).T
    return values[row, column]


def _clip(rim: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """The part of the rim in the image, or None where it is too little."""
    if (rim >= 0).all() and (rim <= (width, height)).all():
        return rim
    whole = Polygon(rim)
    part = whole.intersection(box(0, 0, width, height))
    if part.geom_type != "Polygon" or part.area < INSIDE * whole.area:
        return None
    return np.asarray(part.exterior.coords)[:-1]
