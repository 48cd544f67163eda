"""How many craters there are of which size, as crater chronology counts them.

Bins and plots after the Crater Analysis Techniques Working Group (1979), Icarus 37: bins of
sqrt(2) that begin at 1 km times powers of sqrt(2), errors of the square root of the count.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def bin_edges(diameters_km: np.ndarray) -> np.ndarray:
    """Edges in km, sqrt(2)^k for whole k, of the bins from the smallest to the largest
    diameter: each from its lower edge (included) to the next; empty without diameters."""
    diameters = np.asarray(diameters_km, np.float64)
    if not len(diameters):
        return np.zeros(0)
    # A hair above: sizes that are edges themselves are not lost to rounding.
    low, high = np.floor(2.0 * np.log2([diameters.min(), diameters.max()]) + 1e-9)
    edges = 2.0 ** (np.arange(low, high + 2) / 2.0)
    edges[0] = min(edges[0], diameters.min())
    return edges


def size_frequencies(diameters_km: np.ndarray, area_km2: float) -> pd.DataFrame:
    """The size-frequency distribution: a row for each bin from the smallest to the largest.

    Columns:
      d_min_km, d_max_km: the bin's edges, [d_min, d_max); d_mean_km: their geometric mean.
      n: craters in the bin. n_cumulative: of d_min and larger.
      cumulative_km2: n_cumulative per km^2. incremental_km2: n per km^2. differential_km3: n
        per km^2 and km of diameter. r: d_mean^3 times the differential one. Each with its
        error, `..._error`: itself / sqrt(count), 0 where nothing was counted.

    Raises:
      ValueError: the area is not above 0.
    """
    if not area_km2 > 0:
        raise ValueError(f"Invalid area of {area_km2} km^2, expected a number above 0")
    diameters = np.asarray(diameters_km, np.float64)
    edges = bin_edges(diameters)
    low, high = edges[:-1], edges[1:]
    n = np.histogram(diameters, edges)[0] if len(edges) else np.zeros(0, int)
    above = np.cumsum(n[::-1])[::-1]
    mean = np.sqrt(low * high)
    differential = n / (high - low) / area_km2
    densities = {"cumulative_km2": (above / area_km2, above), "incremental_km2": (n / area_km2, n),
                 "differential_km3": (differential, n), "r": (mean**3 * differential, n)}
    table = {"d_min_km": low, "d_max_km": high, "d_mean_km": mean, "n": n, "n_cumulative": above}
    for name, (density, count) in densities.items():
        table[name] = density
        table[f"{name}_error"] = density / np.sqrt(np.maximum(count, 1))
    return pd.DataFrame(table)
