"""Height of a crater against distance from its centre, from fresh to worn out.

Fresh shape: a parabolic bowl with depth/diameter near 0.2 and a rim 0.036 diameters
high (Pike 1977, simple craters), ejecta falling off as r^-3 outside (McGetchin, Settle
& Head 1973). Wear: the shape diffuses, dz/dt = kappa laplace(z) (Fassett & Thomson
2014), which makes it shallower and rounds its crest. The equation is solved once, for a
circular crater of radius 1; every crater after that is a look-up.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.linalg import solve_banded

FRESH_DEPTH = 0.2  # depth / diameter, crest to floor (Pike 1977)
RIM_HEIGHT = 0.036  # crest above the plain / diameter (Pike 1977)
REACH = 3.0  # where a crater's relief ends, in rim radii
SAMPLES = 768  # samples of a profile between 0 and REACH

_NODES = 480  # radial nodes of the diffusion, out to _EDGE fresh radii
_EDGE = 6.0


@lru_cache(maxsize=1)
def worn_profiles() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The wear sequence of one crater.

    Returns:
      wear: float64 [k], kappa t / R^2 with R the fresh radius, ascending, no unit.
      depth: float64 [k], depth / diameter at that wear, crest to floor, descending.
      heights: float32 [k, SAMPLES], height / rim radius at 0..REACH present rim radii.
    """
    step = _EDGE / _NODES
    r = (np.arange(_NODES) + 0.5) * step
    z = _fresh(r)
    at = np.linspace(0, REACH, SAMPLES)
    taper = np.clip((REACH - at) / (REACH - 1.5), 0, 1)
    taper = taper * taper * (3 - 2 * taper)
    wear = np.concatenate([[0.0], np.geomspace(5e-4, 0.6, 96)])
    depths, heights = [], []
    for before, now in zip(np.r_[0.0, wear[:-1]], wear, strict=True):
        if now > before:
            z = _diffuse(z, r, step, now - before)
        crest = r[np.argmax(z)]
        rim = z.max()
        depths.append((rim - z[0]) / (2 * crest))
        heights.append(np.interp(at * crest, r, z) / crest * taper)
    return wear, np.asarray(depths), np.asarray(heights, np.float32)


def profile(depth: float) -> np.ndarray:
    """Height / rim radius of a crater worn down to this depth / diameter.

    Args:
      depth: depth / diameter, crest to floor; values beyond the sequence are clipped.

    Returns:
      float32 [SAMPLES] at evenly spaced distances 0..REACH rim radii; the crest is at 1.
    """
    _, depths, heights = worn_profiles()
    place = np.interp(-depth, -depths, np.arange(len(depths)))
    low = min(int(place), len(depths) - 2)
    part = np.float32(place - low)
    return heights[low] * (1 - part) + heights[low + 1] * part


def depth_after(wear: float) -> float:
    """Depth / diameter of a crater after this wear (kappa t / R^2, no unit)."""
    wears, depths, _ = worn_profiles()
    return float(np.interp(wear, wears, depths))


def _fresh(r: np.ndarray) -> np.ndarray:
    """Height / rim radius of a fresh crater at r rim radii."""
    rim = 2 * RIM_HEIGHT
    bowl = rim - 2 * FRESH_DEPTH * (1 - r**2)
    return np.where(r < 1, bowl, rim * np.maximum(r, 1) ** -3.0)


def _diffuse(z: np.ndarray, r: np.ndarray, step: float, time: float) -> np.ndarray:
    """One implicit step of axisymmetric diffusion; the edge stays where it is."""
    inner, outer = (r - step / 2) / r, (r + step / 2) / r
    k = time / step**2
    bands = np.zeros((3, len(r)))
    bands[0, 1:] = -k * outer[:-1]
    bands[1] = 1 + k * (inner + outer)
    bands[2, :-1] = -k * inner[1:]
    return solve_banded((1, 1), bands, z)
