"""Pictures of a score: precision over recall, completeness over diameter."""

from __future__ import annotations

import io
import math

import numpy as np

from crater_model.scores.evaluator import Evaluator


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
    """A PNG: share of the labels found at the best F1, by both rules, in the bins of diameter
    (px) of `Evaluator.by_diameter`; the numbers of labels along the foot."""
    bins = evaluator.by_diameter()
    figure, axes = _figure()
    # The first bin reaches down to 0: on the logarithmic axis it is drawn as wide as the rest.
    edges = [bins[0]["to_px"] / math.sqrt(2.0), *(b["to_px"] for b in bins)] if bins else [1, 2]
    for key, label in (("recall", "outline"), ("catalogue_recall", "catalogue")):
        shares = [math.nan if b[key] is None else b[key] for b in bins]
        axes.stairs(shares or [math.nan], edges, baseline=None, label=label)
    for low, high, b in zip(edges, edges[1:], bins, strict=False):
        axes.annotate(str(b["labels"]), (math.sqrt(low * high), 0.02), fontsize=7, ha="center")
    axes.set_xscale("log")
    axes.set_xticks(edges, ["0", *(f"{edge:.0f}" for edge in edges[1:])], fontsize=8)
    axes.minorticks_off()
    axes.set(xlabel="diameter (px)", ylabel="share found", ylim=(0, 1.05))
    axes.legend(frameon=False)
    return _png(figure)


def _figure():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), dpi=100, layout="constrained")
    return figure, figure.add_subplot()


def _png(figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
