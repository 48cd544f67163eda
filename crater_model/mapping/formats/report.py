"""HTML: one page, which needs no other file, on what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crater_model.detections.matching import CATALOGUE_DISTANCE, CATALOGUE_RADIUS, OUTLINE_IOU
from crater_model.files import write_bytes
from crater_model.importing.formats.placing import Craters as CataloguedCraters
from crater_model.mapping.completeness import completeness
from crater_model.mapping.formats import plots
from crater_model.mapping.formats.samples import samples
from crater_model.mapping.maps import Map, all_rows, one_body
from crater_model.mapping.sizes import size_frequencies
from crater_model.pictures import page

_SIZES = ("Bins of sqrt(2) from 1 km times powers of sqrt(2); densities per km² of the searched "
          "ground; errors of the square root of the count. Craters with their centre in the "
          "searched ground.")
_RULES = (f"By outline: IoU of {OUTLINE_IOU} or more with the catalogue's circle. By catalogue: "
          f"(dx² + dy²) / min(r)² < {CATALOGUE_DISTANCE} and |dr| / min(r) < {CATALOGUE_RADIUS:g}, "
          "in px. The catalogue's craters whose centre is in the searched ground.")


def write(path: Path, maps: Sequence[Map], catalogue: CataloguedCraters | None = None,
          parameters: dict[str, Any] | None = None) -> Path:
    """Writes the report: numbers, size frequencies, scores and ellipticities, completeness
    against the catalogue where one is given, samples where images can be opened, parameters.

    Raises:
      ConfigError: the images show several bodies.
    """
    body, rows = one_body(path, maps), all_rows(maps)
    parts = [page.numbers("Numbers", _numbers(maps, rows))]
    if body is None:
        parts.append(page.text("The images have no georeference: sizes are in px, and there are no "
                               "size frequencies per km² and no comparison with a catalogue."))
    else:
        parts += _sizes(maps)
    if len(rows):
        parts += [page.picture("Scores", plots.scores(rows["score"])),
                  page.picture("Ellipticity", plots.ellipticities(rows["ellipticity"]))]
    if catalogue is not None and body is not None:
        parts += _completeness(maps, catalogue)
    parts += [page.picture(title, png) for title, png in samples(maps)]
    parts.append(page.numbers("Parameters", parameters or {}))
    title = maps[0].name if len(maps) == 1 else f"{maps[0].name} and {len(maps) - 1} more"
    return write_bytes(path, page.page(f"Craters of {title}", parts))


def _numbers(maps: Sequence[Map], rows: pd.DataFrame) -> dict[str, Any]:
    unit = "km" if "diameter_km" in rows else "px"
    sizes = rows[f"diameter_{unit}"].dropna()
    found: dict[str, Any] = {"images": len(maps), "craters": len(rows)}
    if rows["class"].nunique() > 1:
        found["classes"] = rows["class"].value_counts().to_dict()
    if len(sizes):
        found |= {f"{name}_diameter": f"{value:.4g} {unit}" for name, value in (
            ("smallest", sizes.min()), ("median", sizes.median()), ("largest", sizes.max()))}
    found["cut by the image's edge (sizes are lower limits)"] = int(rows["edge"].sum())
    if unit == "km":
        body = maps[0].ground.body
        found |= {"body": body.name, "coordinate system": body.code or body.crs.name,
                  "searched ground": f"{sum(m.ground.km2 for m in maps):.6g} km²"}
    return found


def sizes(maps: Sequence[Map]) -> pd.DataFrame | None:
    """`sizes.size_frequencies` of the craters counted in all the searched ground; None where
    there are none or no georeference."""
    if any(m.mapped is None for m in maps):
        return None
    counted = np.concatenate([m.table["diameter_km"].to_numpy()[m.counted()] for m in maps])
    area = sum(m.ground.km2 for m in maps)
    return size_frequencies(counted, area) if len(counted) and area > 0 else None


def _sizes(maps: Sequence[Map]) -> Iterator[str]:
    table = sizes(maps)
    if table is None:
        return
    yield page.picture("Size frequencies", plots.cumulative(table)) + page.text(_SIZES)
    yield page.image("differential", plots.differential(table))
    yield page.image("R plot", plots.relative(table))
    names = ("from km", "to km", "craters", "this and larger", "cumulative / km²", "±",
             "differential / km³", "±", "R", "±")
    columns = ("cumulative_km2", "differential_km3", "r")
    yield page.grid(names, (
        [f"{row.d_min_km:.4g}", f"{row.d_max_km:.4g}", row.n, row.n_cumulative,
         *(f"{getattr(row, name + end):.3g}" for name in columns for end in ("", "_error"))]
        for row in table.itertuples()))


def _completeness(maps: Sequence[Map], catalogue: CataloguedCraters) -> Iterator[str]:
    table, name = completeness(maps, catalogue), Path(catalogue.file).name
    known, outline, rule = (int(table[key].sum()) for key in ("known", "outline", "catalogue"))
    if known == 0:
        yield page.text(f"{name} has no crater in the searched ground.")
        return
    yield page.picture("Completeness", plots.completeness(table)) + page.text(
        f"Of {known} craters of {name} {outline} were found by outline and {rule} by the "
        f"catalogue rule. {_RULES}")
    yield page.grid(("from km", "to km", "known", "by outline", "by catalogue"), (
        [f"{row.d_min_km:.4g}", f"{row.d_max_km:.4g}", row.known, row.outline, row.catalogue]
        for row in table.itertuples()))
