"""Which of a catalogue's craters were found, by their size on the ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import shapely

from crater_model.detections.matching import RULES, Shapes, match
from crater_model.importing.formats.placing import Craters as CataloguedCraters
from crater_model.mapping.maps import Map
from crater_model.mapping.sizes import bin_edges


def completeness(maps: Sequence[Map], catalogue: CataloguedCraters) -> pd.DataFrame:
    """Completeness by diameter (km), in the bins of `sizes.bin_edges`.

    A catalogue's crater is looked for in the images that show its centre in the ground that
    was searched. Its circle on the ground, drawn in the image and cut at the image's edge, is
    found by a detection of any class and score by the rules of `evaluation.matching`.

    Columns:
      d_min_km, d_max_km: the bin's edges. known: the catalogue's craters in it.
      outline, catalogue: how many of them were found by each rule.
    """
    parts = [_looked_for(entry, catalogue) for entry in maps if entry.georeference is not None]
    diameters = np.concatenate([np.zeros(0), *(part[0] for part in parts)])
    edges = bin_edges(diameters)
    table = {"d_min_km": edges[:-1], "d_max_km": edges[1:], "known": _binned(diameters, edges)}
    for rule in RULES:
        found = np.concatenate([np.zeros(0, bool), *(part[1][rule] for part in parts)])
        table[rule] = _binned(diameters[found], edges)
    return pd.DataFrame(table)


def _looked_for(entry: Map, catalogue: CataloguedCraters
                ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Diameters (km) of the craters that an image should show, and by rule which were found."""
    place, craters = entry.georeference, entry.craters
    assert place is not None
    lonlat = catalogue.lonlat(place, catalogue.places)
    seen = np.flatnonzero(entry.contains(place.pixels(lonlat)))
    rims = place.rims(lonlat[seen], catalogue.diameter_km[seen])
    drawn = np.isfinite(rims).all(axis=(1, 2))
    height, width = craters.size
    polygons = shapely.intersection(shapely.polygons(rims[drawn]), shapely.box(0, 0, width, height))
    wanted = Shapes.of(polygons, np.zeros(len(polygons), int))
    found = Shapes.of(craters.outlines, np.zeros(len(craters), int))
    return catalogue.diameter_km[seen][drawn], {
        rule: match(rule, found, wanted, craters.scores) >= 0 for rule in RULES}


def _binned(diameters: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return np.histogram(diameters, edges)[0] if len(edges) else np.zeros(0, int)
