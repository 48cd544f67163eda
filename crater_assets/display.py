"""Metadata that a person looks at: pictures, tables, curves."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

def picture(png: bytes, title: str) -> dg.MarkdownMetadataValue:
    """A PNG shown in line; keep it under 100 kB, since the event log holds it."""
    data = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{data})")


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MarkdownMetadataValue:
    """Rows with the same keys as a Markdown table; floats to four digits, None as a dash."""
    if not rows:
        return dg.MetadataValue.md("(none)")
    head = list(rows[0])
    lines = [head, ["---"] * len(head)]
    lines += [[_cell(row[name]) for name in head] for row in rows]
    return dg.MetadataValue.md("\n".join("| " + " | ".join(line) + " |" for line in lines))


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
    for axis, points, name in zip(figure.subplots(1, 2), (loss, scores), ("loss", metric)):
        axis.plot(*zip(*points), marker="." if len(points) < 50 else "") if points else None
        axis.set(xlabel="step", title=name)
        axis.grid(alpha=0.3)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _series(history, name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in history
            if "step" in row and isinstance(row.get(name), (int, float))]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")
