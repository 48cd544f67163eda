"""The plots of a report, each as PNG bytes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crater_model.pictures.drawing import figure


def cumulative(table: pd.DataFrame) -> bytes:
    """`sizes.size_frequencies` as density of craters of a diameter and larger."""
    return _density(table, "d_min_km", "cumulative_km2", "craters ≥ D per km²")


def differential(table: pd.DataFrame) -> bytes:
    """The same as density per km of diameter."""
    return _density(table, "d_mean_km", "differential_km3", "craters per km² per km")


def relative(table: pd.DataFrame) -> bytes:
    """The same as R plot."""
    return _density(table, "d_mean_km", "r", "R")


def completeness(table: pd.DataFrame) -> bytes:
    """`completeness.completeness` as shares found; the numbers of known craters at the foot."""
    edges = [*table["d_min_km"], table["d_max_km"].iloc[-1]]
    known = table["known"].to_numpy()

    def draw(axes) -> None:
        for rule in ("outline", "catalogue"):
            share = np.where(known > 0, table[rule] / np.maximum(known, 1), np.nan)
            axes.stairs(share, edges, baseline=None, label=f"by {rule}")
        for row in table.itertuples():
            axes.annotate(str(row.known), (np.sqrt(row.d_min_km * row.d_max_km), 0.02),
                          fontsize=7, ha="center")
        _km(axes)
        axes.set(ylabel="share found", ylim=(0, 1.05))
        axes.legend(frameon=False)
    return figure(draw)


def scores(values: pd.Series) -> bytes:
    """How many craters have which score."""
    def draw(axes) -> None:
        axes.hist(values, bins=np.linspace(0, 1, 41))
        axes.set(xlabel="score", ylabel="craters", xlim=(0, 1))
    return figure(draw)


def ellipticities(values: pd.Series) -> bytes:
    """How many craters have which ellipticity (major / minor axis)."""
    values = values[np.isfinite(values)]

    def draw(axes) -> None:
        axes.hist(np.minimum(values, 2.0), bins=np.linspace(1, 2, 41))
        axes.set(xlabel="ellipticity, major / minor axis (the last bin: and above)",
                 ylabel="craters", xlim=(1, 2))
    return figure(draw)


def _density(table: pd.DataFrame, x: str, y: str, label: str) -> bytes:
    shown = table[table["n"] > 0]

    def draw(axes) -> None:
        axes.set_yscale("log", nonpositive="clip")
        axes.errorbar(shown[x], shown[y], yerr=shown[f"{y}_error"], fmt="o", markersize=4,
                      capsize=2)
        _km(axes)
        # A single crater's error bar reaches down to nothing.
        low, high = shown[y].min() / 4, (shown[y] + shown[f"{y}_error"]).max() * 2
        axes.set(ylabel=label, ylim=(low, high))
        axes.grid(alpha=0.3)
    return figure(draw)


def _km(axes) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="diameter (km)")
