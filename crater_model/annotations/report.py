"""A data set's check as one page of HTML that needs no other file."""

from __future__ import annotations

import base64
import html
from pathlib import Path

from crater_model.annotations.dataset import Dataset, load_dataset
from crater_model.annotations.pictures import (
    contact_sheet, count_histogram, diameter_histogram, km_histogram, side_by_side)
from crater_model.annotations.validate import DatasetReport, diameters_km
from crater_model.files import write_bytes

_STYLE = """body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse } td, th { text-align: left; padding: .2em 1em .2em 0 }
td { font-variant-numeric: tabular-nums } .bad { color: #a00 } img { max-width: 100% }"""
_MOST_LINES = 200
# Pairs of look-alikes that are shown.
_MOST_PAIRS = 24


def write_html(report: DatasetReport, folder: str | Path, path: str | Path) -> Path:
    """Writes `report`, which `check_dataset(folder)` gave, as HTML at `path`.

    Pictures are in it only where the data set has no problem.
    """
    name = html.escape(Path(folder).resolve().name)
    verdict = "no problem" if report.ok else f"{len(report.problems)} problem(s)"
    parts = [f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{name}</title>",
             f"<style>{_STYLE}</style><h1>{name}</h1>",
             f"<p class='{'good' if report.ok else 'bad'}'>{verdict}, "
             f"{len(report.warnings)} warning(s)</p>",
             _lines("Problems", report.problems), _lines("Warnings", report.warnings),
             _table(report.statistics)]
    if report.ok:
        parts += _pictures(report, load_dataset(folder))
    return write_bytes(path, ("\n".join(filter(None, parts)) + "</html>\n").encode())


def _pictures(report: DatasetReport, dataset: Dataset) -> list[str]:
    parts = [_picture("Labels", contact_sheet(dataset, 12, 4, 300, None)),
             _picture("Diameters", diameter_histogram(dataset))]
    kilometres = diameters_km(dataset)
    if kilometres:
        parts.append(_picture("Diameters on the ground", km_histogram(kilometres)))
    parts.append(_picture("Labels in an image", count_histogram(dataset)))
    for number, (one, other, likeness) in enumerate(report.look_alikes[:_MOST_PAIRS]):
        if number == 0:
            parts.append(f"<h2>Look-alikes</h2><p>{len(report.look_alikes)} pair(s) of images of "
                         "different scenes show the same ground.</p>")
        text = html.escape(f"{one} and {other}: {likeness:.2f}")
        parts.append(f"<p>{text}</p>" + _image(text, side_by_side(dataset, [(one, other)])))
    return parts


def _lines(title: str, lines: list[str]) -> str:
    if not lines:
        return ""
    shown = [f"<li>{html.escape(line)}</li>" for line in lines[:_MOST_LINES]]
    if len(lines) > _MOST_LINES:
        shown.append(f"<li>and {len(lines) - _MOST_LINES} more</li>")
    return f"<h2>{title}</h2><ul>{''.join(shown)}</ul>"


def _table(statistics: dict) -> str:
    rows = []
    for key, value in statistics.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {number}" for name, number in value.items())
        if value in (None, ""):
            value = "-"
        rows.append(f"<tr><th>{html.escape(key.replace('_', ' '))}</th>"
                    f"<td>{html.escape(str(value))}</td></tr>")
    return f"<h2>Numbers</h2><table>{''.join(rows)}</table>" if rows else ""


def _picture(title: str, data: bytes) -> str:
    return f"<h2>{title}</h2>" + _image(title, data)


def _image(text: str, data: bytes) -> str:
    """An <img>; `text` has been escaped."""
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    return f"<img alt='{text}' src='{source}'>"
