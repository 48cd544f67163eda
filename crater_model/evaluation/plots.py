"""Pictures of a score: precision over recall, completeness over diameter."""

from __future__ import annotations

import io
import math

import numpy as np

from crater_model.evaluation.evaluator import Evaluator


def precision_recall(evaluator: Evaluator) -> bytes:
    """A PNG: precision over recall by both rules of matching."""
    figure, axes = _figure()
    for rule, (scores, right, wanted) in evaluator.matches().items():
        order = np.argsort(-scores, kind="stable")
        hits = np.cumsum(right[order])
        axes.plot(hits / max(wanted, 1), hits / np.arange(1, len(hits) + 1), label=rule)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False)
    return _png(figure)


def completeness(evaluator: Evaluator) -> bytes:
    """A PNG: share of labels found (outline rule, at the best F1) by diameter in px."""
    diameters, found = evaluator.found_by_diameter()
    figure, axes = _figure()
    edges, share, count = completeness_bins(diameters, found)
    middles = np.sqrt(edges[:-1] * edges[1:])
    axes.step(middles, share, where="mid")
    for x, y, n in zip(middles, share, count):
        if n:
            axes.annotate(str(n), (x, y), textcoords="offset points", xytext=(0, 4), fontsize=7)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="diameter (px)", ylabel="share found", ylim=(0, 1.1))
    return _png(figure)


def completeness_bins(diameters: np.ndarray, found: np.ndarray
                      ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (px, steps of sqrt 2), share found (NaN where none) and count in each bin."""
    if not len(diameters):
        return np.array([1.0, math.sqrt(2.0)]), np.array([math.nan]), np.array([0])
    low = math.floor(2 * math.log2(diameters.min()))
    high = math.floor(2 * math.log2(diameters.max())) + 1
    edges = 2.0 ** (np.arange(low, high + 1) / 2)
    count, _ = np.histogram(diameters, edges)
    hits, _ = np.histogram(diameters[found], edges)
    with np.errstate(invalid="ignore"):
        return edges, hits / count, count


def _figure():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), dpi=100, layout="constrained")
    return figure, figure.add_subplot()


def _png(figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
