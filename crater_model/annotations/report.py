"""A data set's check as one page of HTML that needs no other file."""

from __future__ import annotations

from pathlib import Path

from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.pictures import (
    contact_sheet,
    count_histogram,
    diameter_histogram,
    km_histogram,
    side_by_side,
)
from crater_model.annotations.scene import Dataset
from crater_model.annotations.validate import DatasetReport, diameters_km
from crater_model.files import write_bytes
from crater_model.pictures import page

# Pairs of look-alikes that are shown.
_MOST_PAIRS = 24


def write_html(report: DatasetReport, folder: str | Path, path: str | Path) -> Path:
    """Writes `report`, which `check_dataset(folder)` gave, as HTML at `path`.

    Pictures are in it only where the data set has no problem.
    """
    verdict = "no problem" if report.ok else f"{len(report.problems)} problem(s)"
    parts = [f"<p class='{'good' if report.ok else 'bad'}'>{verdict}, "
             f"{len(report.warnings)} warning(s)</p>",
             page.lines("Problems", report.problems), page.lines("Warnings", report.warnings),
             page.numbers("Numbers", report.statistics)]
    if report.ok:
        parts += _pictures(report, load_dataset(folder))
    return write_bytes(path, page.page(Path(folder).resolve().name, parts))


def _pictures(report: DatasetReport, dataset: Dataset) -> list[str]:
    parts = [page.picture("Labels", contact_sheet(dataset, 12, 4, 300, None)),
             page.picture("Diameters", diameter_histogram(dataset))]
    kilometres = diameters_km(dataset)
    if kilometres:
        parts.append(page.picture("Diameters on the ground", km_histogram(kilometres)))
    parts.append(page.picture("Labels in an image", count_histogram(dataset)))
    for number, (one, other, likeness) in enumerate(report.look_alikes[:_MOST_PAIRS]):
        if number == 0:
            parts.append(f"<h2>Look-alikes</h2><p>{len(report.look_alikes)} pair(s) of images of "
                         "different scenes show the same ground.</p>")
        text = f"{one} and {other}: {likeness:.2f}"
        parts.append(page.text(text) + page.image(text, side_by_side(dataset, [(one, other)])))
    return parts
