"""Metadata that a person looks at: summaries, tables, curves, the leaderboard."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

INLINE_BYTES = 100_000  # of a picture on a page
_BARS, _PANELS = 40, 6  # more cannot be read in a picture of that size
_PAGE_INCHES = 5.6  # at 80 dpi: as wide as a value is on an asset's page in a window of 1500 px


def summary(result: str, next_step: str = "") -> dg.MarkdownMetadataValue:
    """What came out, and what to do next: the first thing on a page.

    It stays short enough (below 1,000 characters) to be shown in line.
    """
    text = " ".join(result.split())
    text = text if len(text) <= 600 else f"{text[:597]}..."
    return dg.MetadataValue.md(f"{text}\n\nNext: {next_step}" if next_step else text)


def table(rows: Sequence[Mapping[str, Any]]) -> dg.TableMetadataValue:
    """Rows (one or more) with the same keys; floats to four digits, None as a dash."""
    return dg.MetadataValue.table([
        dg.TableRecord({name: _cell(value) for name, value in row.items()}) for row in rows])


def bullets(lines: Sequence[str], most: int = 200) -> dg.MarkdownMetadataValue:
    """Lines as a list, `most` of them and a count of the rest."""
    shown = [f"- {line}" for line in lines[:most]]
    if len(lines) > most:
        shown.append(f"- and {len(lines) - most} more")
    return dg.MetadataValue.md("\n".join(shown) or "(none)")


def numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of a flat mapping, as metadata that Dagster plots by itself."""
    return {f"{prefix}{name}": float(value) for name, value in values.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
            and abs(value) < float("inf")}


def curves(history: Sequence[Mapping[str, Any]], metric: str) -> bytes | None:
    """PNG of the loss and of `metric` over the steps; None without anything to draw.

    Args:
      history: rows with `step` and any of `loss`, `total_loss`, `metric`.
    """
    loss = _series(history, "total_loss") or _series(history, "loss")
    scores = _series(history, metric)
    if not loss and not scores:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), dpi=80, layout="constrained")
    for axis, points, name in zip(figure.subplots(1, 2), (loss, scores), ("loss", metric),
                                  strict=True):
        if points:
            axis.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else "")
        axis.set(xlabel="step", title=name)
        axis.grid(alpha=0.3)
    return _png(figure)


def leaderboard_picture(entries: Sequence[Any], varied: Mapping[str, Mapping[str, Any]],
                        metric: str, objective: str = "max") -> bytes:
    """PNG: the metric of every hyperparameter set, and over each setting that they vary.

    Bars carry their set's place in the ranking. A set that takes no part is marked with a red
    cross and its reason.

    Args:
      entries: `leaderboard.Entry`, the best first.
      varied: see `leaderboard.varied`.
    """
    from matplotlib.figure import Figure

    shown = entries[:_BARS]
    panels = list(varied.items())[:_PANELS]
    lines = len(panels)
    ranked = max(1.5, 0.6 + 0.24 * len(shown))
    figure = Figure(figsize=(_PAGE_INCHES, ranked + 1.8 * lines), dpi=80, layout="constrained")
    grid = figure.add_gridspec(1 + lines, 1, height_ratios=[ranked, *[1.8] * lines])
    _ranking(figure.add_subplot(grid[0]), shown, metric, objective, len(entries) - len(shown))
    for number, (setting, values) in enumerate(panels):
        _over_setting(figure.add_subplot(grid[1 + number]), setting, values, shown, metric)
    return _png(figure)


def _ranking(axis, shown, metric: str, objective: str, more: int) -> None:
    places = range(len(shown))
    axis.barh(places, [entry.score or 0 for entry in shown],
              color=[f"C{place % 10}" for place in places], height=0.7)
    axis.set_yticks(places, [
        _short(entry.partition, 36) + (f"  {place + 1}" if entry.score is not None else "  -")
        for place, entry in zip(places, shown, strict=True)], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(0, max([entry.score or 0 for entry in shown]) * 1.15 or 1)
    for place, entry in zip(places, shown, strict=True):
        if entry.score is None:
            axis.plot(0, place, "x", color="red", clip_on=False)
            why = re.sub(r"/\S*/", "", entry.note)  # of paths their ends: there is little room
            axis.annotate(_plain(why if len(why) <= 50 else f"{why[:47]}..."), (0, place), (6, 0),
                          va="center", color="red", textcoords="offset points", fontsize=7)
        else:
            axis.annotate(f"{entry.score:.4g}", (entry.score, place), (3, 0), va="center",
                          textcoords="offset points", fontsize=8)
    note = f"; {more} more are not shown" if more > 0 else ""
    axis.set_title(f"validation {metric}, the {objective} is best{note}", fontsize=9)
    axis.grid(axis="x", alpha=0.3)


def _over_setting(axis, setting: str, values: Mapping[str, Any], shown, metric: str) -> None:
    """Bars of the sets side by side over each value that they give a setting."""
    order = sorted(set(map(repr, values.values())),
                   key=lambda text: (0, float(text)) if _is_number(text) else (1, text))
    groups: dict[str, list[tuple[int, Any]]] = {text: [] for text in [*order, "experiment's"]}
    for place, entry in enumerate(shown):
        named = entry.partition in values
        groups[repr(values[entry.partition]) if named else "experiment's"].append((place, entry))
    groups = {text: group for text, group in groups.items() if group}
    width = 0.8 / max(3, *map(len, groups.values()), 0)
    for middle, group in enumerate(groups.values()):
        for number, (place, entry) in enumerate(group):
            x = middle + (number - (len(group) - 1) / 2) * width
            if entry.score is None:
                axis.plot(x, 0, "x", color="red", clip_on=False)
            else:
                axis.bar(x, entry.score, width * 0.9, color=f"C{place % 10}")
                axis.annotate(str(place + 1), (x, entry.score), (0, 2), ha="center",
                              textcoords="offset points", fontsize=7)
    axis.margins(y=0.12)
    axis.set_xticks(range(len(groups)), [_short(text, 16) for text in groups], fontsize=8)
    axis.set_title(".".join(setting.split(".")[-3:]), fontsize=8)
    axis.set_ylabel(metric, fontsize=8)
    axis.grid(axis="y", alpha=0.3)


def _is_number(text: str) -> bool:
    try:
        return float(text) == float(text)
    except ValueError:
        return False


def _short(text: str, most: int) -> str:
    """The text, its middle left out where it is longer: its two ends tell most."""
    half = (most - 3) // 2
    return _plain(text if len(text) <= most else f"{text[:half]}...{text[-half:]}")


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # which would begin a formula


def _png(figure) -> bytes:
    """The figure as a PNG of at most `INLINE_BYTES`, coarser where it must be."""
    for dpi in (80, 60, 40, 25):
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=dpi)
        if len(out.getvalue()) <= INLINE_BYTES:
            break
    return out.getvalue()


def _series(history, name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in history
            if "step" in row and isinstance(row.get(name), (int, float))]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
