"""An image's craters with all that the files about them need."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import shapely

from crater_model.errors import ConfigError
from crater_model.imagery.body import Body, body_of
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.raster import Raster
from crater_model.mapping.craters import Craters
from crater_model.mapping.ground import MappedArea, mapped_area, on_body
from crater_model.mapping.measure import measure

_ON_GROUND = ("lon_deg", "lat_deg", "ellipse_azimuth_deg")


@dataclass(frozen=True, eq=False)
class Map:
    """What was found in one image.

    Attributes:
      name: of the image.
      craters: in px of the image.
      georeference: the image's place, or None.
      area: shapely Polygon or MultiPolygon in px of what was searched and shows ground; the
        whole image if None.
      area_px: its true area, px, where the polygon is a simplified one.
      open: opens the image for pictures of it; needed by `.png` and, for samples, `.html`.
      own_ground: the searched ground that counts for this image, where another one counts
        for a part of it (`overlap.seen_once`).
    """

    name: str
    craters: Craters
    georeference: Georeference | None = None
    area: shapely.Geometry | None = None
    area_px: float | None = None
    open: Callable[[], Raster] | None = None
    own_ground: MappedArea | None = None

    @functools.cached_property
    def table(self) -> pd.DataFrame:
        """`measure.measure` of its craters."""
        return measure(self.craters, self.georeference)

    def select(self, keep: np.ndarray, ground: MappedArea) -> Map:
        """The map of the craters where the mask is true, and of this ground of its own; what was
        measured of them stays so."""
        made = replace(self, craters=self.craters.select(keep), own_ground=ground)
        made.__dict__["table"] = self.table[keep].reset_index(drop=True)
        made.__dict__["shapes"] = self.shapes[keep]
        return made

    @functools.cached_property
    def mapped(self) -> MappedArea | None:
        """The searched ground that counts for this image; None without a georeference."""
        if self.georeference is None or self.own_ground is not None:
            return self.own_ground
        return mapped_area(self.georeference, self.area, self.area_px)

    @property
    def ground(self) -> MappedArea:
        """`mapped` of an image that is known to have a georeference."""
        assert self.mapped is not None
        return self.mapped

    @property
    def searched(self) -> shapely.Geometry:
        """The searched part of the image in px."""
        height, width = self.craters.size
        return shapely.box(0, 0, width, height) if self.area is None else self.area

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which points [n, 2] (px) are in the searched part: bool [n]."""
        searched = self.searched
        shapely.prepare(searched)
        return shapely.intersects_xy(searched, points)

    def counted(self) -> np.ndarray:
        """Which craters are in the searched ground by their centre and have a size in km:
        bool [n]."""
        inside = self.contains(self.table[["x_px", "y_px"]].to_numpy())
        return inside & np.isfinite(self.table["diameter_km"].to_numpy())

    @functools.cached_property
    def shapes(self) -> np.ndarray:
        """The outlines on the body (`ground.on_body`), or in px without a georeference:
        object [n]."""
        if self.georeference is None:
            return self.craters.outlines
        return on_body(self.craters.outlines, self.georeference)


def one_body(path: str | Path, maps: Sequence[Map]) -> Body | None:
    """The body that all the images show; None where none of them has a georeference.

    Raises:
      ConfigError: they show several, or some have no georeference.
    """
    return same_for_all(path, [(m.name, m.georeference) for m in maps])


def same_for_all(path: str | Path, images: Sequence[tuple[str, Georeference | None]]
                 ) -> Body | None:
    """The same of names and georeferences."""
    if not images:
        return None
    (first, place), *others = images
    body = None if place is None else body_of(place)
    for name, georeference in others:
        other = None if georeference is None else body_of(georeference)
        if body is other is None or (body and other and body.is_same(other)):
            continue
        one, two = (str(b) if b else "no known place" for b in (body, other))
        raise ConfigError(f"{path}: one file has one coordinate system, but {first} shows "
                          f"{one} and {name} {two}; write a file for each")
    return body


def require_ground(path: str | Path, maps: Sequence[Map]) -> Body:
    """The one body, for a file in km.

    Raises:
      ConfigError: as `one_body`, or there is no georeference at all.
    """
    body = one_body(path, maps)
    if body is None:
        name = maps[0].name if maps else "no image"
        raise ConfigError(f"{path}: a {Path(path).suffix} file needs km, but {name} has no "
                          "georeference; give the image one (GeoTIFF, or a world file and "
                          ".aux.xml beside it) or choose .csv, .gpkg or .geojson")
    return body


def all_rows(maps: Sequence[Map]) -> pd.DataFrame:
    """The tables of all images in one, with `crater_id` ("2-000017": the 17th of the second
    image) and `image` before the measures.

    Those on the ground come before those in px: who looks for a "diameter", as craterpy does,
    takes the first column with the word.
    """
    parts = []
    for number, entry in enumerate(maps, start=1):
        ids = [f"{number}-{crater:06d}" for crater in range(1, len(entry.table) + 1)]
        part = entry.table.copy()
        part.insert(0, "crater_id", pd.Series(ids, dtype=object))
        part.insert(1, "image", pd.Series([entry.name] * len(part), dtype=object))
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True)
    on_ground = [name for name in rows if name.endswith("_km") or name in _ON_GROUND]
    first = ["crater_id", "image", *on_ground]
    return rows[[*first, *(name for name in rows if name not in first)]]
