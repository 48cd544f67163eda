"""The height of the ground: fractal relief, craters cut into it, and fine texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from scipy import fft

from crater_model.synthesis.craters import Crater
from crater_model.synthesis.profiles import REACH, SAMPLES, profile

# A later crater wipes out what was there inside this many of its rim radii ...
WIPED = 1.25
_WIPE_START, _WIPE_END = 1.0, 1.5  # ... where the old ground fades back in between these.
_TURN = 512
_PITS = (2.0, 2.8, 3.6, 4.6)  # diameters of the unlabelled pits, px


def fractal(rng: np.random.Generator, height: int, width: int, hurst: float,
            longest: float, shortest: float = 2.0) -> np.ndarray:
    """Random relief with power spectrum f^-(2 hurst + 2), scaled to an r.m.s. slope of 1.

    Args:
      hurst: 0..1; the Moon's is 0.7 to 0.95 (Rosenburg et al. 2011).
      longest, shortest: wavelengths between which there is relief, px.

    Returns:
      float32 [height, width].
    """
    rows, columns = fft.next_fast_len(height), fft.next_fast_len(width, real=True)
    amplitude = _amplitude(rows, columns, hurst, longest, shortest)
    white = rng.standard_normal((*amplitude.shape, 2), np.float32).view(np.complex64)[..., 0]
    white *= amplitude
    return fft.irfft2(white, s=(rows, columns), overwrite_x=True)[:height, :width]


def smooth_fractal(rng: np.random.Generator, height: int, width: int, hurst: float,
                   longest: float, shortest: float) -> np.ndarray:
    """As `fractal`, made at half the resolution: for `shortest` of 8 px and more."""
    half = fractal(rng, (height + 1) // 2, (width + 1) // 2, hurst, longest / 2, shortest / 2)
    return 2 * cv2.resize(half, (width, height), interpolation=cv2.INTER_CUBIC)


@lru_cache(maxsize=4)
def _amplitude(rows: int, columns: int, hurst: float, longest: float,
               shortest: float) -> np.ndarray:
    """Of each wave of a real FFT of noise; float32 [rows, columns // 2 + 1]."""
    fy, fx = fft.fftfreq(rows)[:, None], fft.rfftfreq(columns)[None]
    square = fy * fy + fx * fx
    power = np.maximum(square, longest**-2) ** -(hurst + 1)
    power *= (square <= shortest**-2) & (square > 0)
    slope = 2 * np.pi * np.sqrt((square * power).sum())
    return (np.sqrt(power) * (rows * columns / (2 * slope))).astype(np.float32)


@dataclass
class Ground:
    """The ground of a scene and its margin; each array is float32 [h, w].

    Attributes:
      height: px.
      rough: how strong the fine texture is, 1 on old ground.
      albedo: share of the mean reflectance.
      margin: px from the first row and column to the scene's.
    """

    height: np.ndarray
    rough: np.ndarray
    albedo: np.ndarray
    margin: int


def cut_crater(rng: np.random.Generator, ground: Ground, crater: Crater) -> None:
    """Cuts a crater into the ground, in place.

    Inside the rim the old ground gives way to its own smoothed shape (a crater in a
    larger one follows the larger one's wall), outside the ejecta lie on top of it. Walls
    and ejecta are rough, and bright with rays around the freshest, until wear ends that.
    """
    distance, theta, box = _polar(ground, crater)
    if distance is None:
        return
    index = np.minimum(distance * ((SAMPLES - 1) / REACH), SAMPLES - 1).astype(np.int32)
    wiped = _WIPE[index]
    patch = ground.height[box]
    size = max(3, int(crater.radius) * 2 + 1)
    smooth = cv2.blur(patch, (size, size), borderType=cv2.BORDER_REFLECT)
    patch += wiped * (smooth - patch)
    patch += profile(crater.depth)[index] * np.float32(crater.radius)

    fresh = float(np.clip((crater.depth - 0.08) / 0.1, 0, 1))
    ground.rough[box] += wiped * (1 - ground.rough[box])
    ground.rough[box] += _DEBRIS[index] * np.float32(1.6 * fresh)
    bright = rng.uniform(-0.2, 0.3) * fresh**2
    if bright > 0.02:
        rays = sum(np.cos(order * _CIRCLE + rng.uniform(0, 2 * np.pi))
                   for order in rng.integers(2, 13, 5)) * np.float32(0.45)
        rays = 1 + _RAYS[index] * rays[theta]
        ground.albedo[box] *= 1 + np.float32(bright) * _HALO[index] * np.maximum(rays, 0)


def surviving(craters: Sequence[Crater]) -> np.ndarray:
    """How much of each crater's crest later craters left standing, 0..1.

    Args:
      craters: oldest first.
    """
    share = np.ones(len(craters))
    centres = np.array([(c.x, c.y) for c in craters]).reshape(-1, 2)
    reach = np.array([1.4 * c.axes()[0] for c in craters])
    for i, crater in enumerate(craters[:-1]):
        apart = np.hypot(*(centres[i + 1:] - centres[i]).T)
        near = np.flatnonzero(apart < reach[i] + WIPED * reach[i + 1:]) + i + 1
        if len(near):
            rim = crater.rim()
            wiped = np.zeros(len(rim), bool)
            for j in near.tolist():
                wiped |= craters[j].distance(rim) < WIPED
            share[i] = 1 - wiped.mean()
    return share


def small_pits(rng: np.random.Generator, height: int, width: int, share: float) -> np.ndarray:
    """The smallest craters, 2 to 4.6 px across: texture, too small to be labelled.

    Args:
      share: pits of each size per px of area.

    Returns:
      float32 [height, width], px.
    """
    pits = np.zeros((height, width), np.float32)
    for diameter in _PITS:
        number = rng.poisson(share * height * width * (2 / diameter) ** 2)
        marks = np.zeros((height, width), np.float32)
        marks[rng.integers(0, height, number), rng.integers(0, width, number)] = (
            rng.uniform(0.1, 1.0, number) ** 1.5)
        pits += cv2.filter2D(marks, -1, _pit(diameter))
    return pits


@lru_cache(maxsize=len(_PITS))
def _pit(diameter: float) -> np.ndarray:
    radius = diameter / 2
    half = int(np.ceil(2 * radius))
    y, x = np.mgrid[-half:half + 1, -half:half + 1]
    index = np.minimum(np.hypot(x, y) / radius * (SAMPLES / REACH), SAMPLES - 1).astype(int)
    return profile(0.16)[index] * np.float32(radius)


def _polar(ground: Ground, crater: Crater):
    """Distance in rim radii, angle as an index into `_CIRCLE`, and which part of the ground."""
    half = REACH * crater.axes()[0] * 1.1
    x, y = crater.x + ground.margin, crater.y + ground.margin
    rows, columns = ground.height.shape
    x0, x1 = (int(np.clip(v, 0, columns)) for v in (x - half, x + half + 1))
    y0, y1 = (int(np.clip(v, 0, rows)) for v in (y - half, y + half + 1))
    if x0 >= x1 or y0 >= y1:
        return None, None, None
    along, across = crater.axes()
    dx = np.arange(x0, x1, dtype=np.float32)[None] + np.float32(0.5 - x)
    dy = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5 - y)
    c, s = np.float32(np.cos(crater.angle)), np.float32(np.sin(crater.angle))
    far, theta = cv2.cartToPolar((c * dx + s * dy) * np.float32(1 / along),
                                 (c * dy - s * dx) * np.float32(1 / across))
    theta = (theta * np.float32(_TURN / (2 * np.pi))).astype(np.int32)
    far *= (1 / crater.wobble(_CIRCLE)).astype(np.float32)[theta]
    return far, theta, (slice(y0, y1), slice(x0, x1))


def _smoothstep(at: np.ndarray, zero: float, one: float) -> np.ndarray:
    part = np.clip((at - zero) / (one - zero), 0, 1)
    return part * part * (3 - 2 * part)


_CIRCLE = np.linspace(0, 2 * np.pi, _TURN + 1, dtype=np.float32)
_AT = np.linspace(0, REACH, SAMPLES, dtype=np.float32)
_WIPE = _smoothstep(_AT, _WIPE_END, _WIPE_START)
_DEBRIS = _smoothstep(_AT, 0.0, 0.8) * _smoothstep(_AT, 2.2, 0.9)
_HALO = _smoothstep(_AT, REACH, 0.7) ** 2
_RAYS = _smoothstep(_AT, 0.9, 1.8)
