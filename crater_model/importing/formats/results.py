"""What this project itself has found, read back: `.gpkg`, `.geojson`, `.csv`, COCO results, `.scc`
and `.diam`, in degrees or in px, each crater once.

A results folder has the same craters in several files: of those the first in the order above is
read. A corrected GeoPackage counts as it is: a crater that is gone from `outlines` or from
`craters` is gone, one that was drawn anew is there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely

from crater_model.annotations import outline
from crater_model.errors import DataError
from crater_model.imagery.body import body_of
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.raster import read_header
from crater_model.importing.formats import vector
from crater_model.importing.formats.once import Group, once
from crater_model.importing.formats.placing import Craters, Rows, georeferenced_images, place
from crater_model.importing.formats.result_files import (
    Found,
    is_result,
    load,
)
from crater_model.importing.formats.run_lengths import outlines_of_runs
from crater_model.importing.formats.source import Bad, Label, LabelledImage, Notes, Reading, Source

NAME = "results"
TITLE = "this project's own results, in any of their forms"

# Of files with the same craters the first counts: outlines before circles.
_ORDER = (".gpkg", ".geojson", ".csv", ".json", ".scc", ".diam")


def recognise(source: Source) -> list[Path]:
    """The files that `crater detect` has written, and COCO results of others."""
    return [path for path in source.with_suffix(*_ORDER) if is_result(path)]


def read(source: Source, files: Sequence[Path], notes: Notes) -> Reading:
    """The craters, on the images that the files name or that show their places.

    Raises:
      DataError: a file cannot be read, its images are not known, or files of one name hold
        different craters.
    """
    loaded = [load(source, path, notes) for path in files]
    chosen = _chosen(source, _of_these_images(source, loaded, notes), notes)
    labels: dict[Path, list[Label]] = defaultdict(list)
    placed: list[tuple[Path, Georeference]] | None = None
    for found in chosen:
        notes.count(f"crater(s) were read from the results {source.name(found.path)}",
                    number=len(found))
        on_ground = found.on_ground()
        if on_ground.any():
            placed = georeferenced_images(source, notes) if placed is None else placed
            _place(source, found, on_ground, placed, labels, notes)
        if not on_ground.all() or not len(found):
            _draw(source, found, ~on_ground, labels, notes)
    for path, _ in placed or ():
        labels.setdefault(path, [])
    return Reading([LabelledImage(path, labels[path]) for path in sorted(labels)],
                   files=[entry.path for entry in chosen])


def _of_these_images(source: Source, found: list[Found], notes: Notes) -> list[Found]:
    """Without results in px of images that are not there, where others are left."""
    def usable(entry: Found) -> bool:
        return bool(entry.on_ground().any()) or not len(entry) or any(
            name == "" or _named(source, entry, name) for name in set(entry.images))
    left = [entry for entry in found if usable(entry)]
    if left:
        for entry in found:
            if entry not in left:
                notes.count("result file(s) are of images that are not there and were not read",
                            f"{source.name(entry.path)} (of {entry.images[0]})")
    return left or found


def _chosen(source: Source, found: list[Found], notes: Notes) -> list[Found]:
    """Those to read: of several that are of the same images the one that is called like an
    image, then the first of `_ORDER`."""
    stems = {image.stem for image in source.images}
    found = sorted(found, key=lambda f: (f.path.stem not in stems,
                                         _ORDER.index(f.path.suffix.lower()), f.path))
    chosen: list[Found] = []
    for entry in found:
        rival = next((other for other in chosen if entry.overlaps(other)), None)
        if rival is None:
            chosen.append(entry)
        elif entry.is_as_before(rival):
            notes.count("result file(s) hold the craters of another and were not read",
                        f"{source.name(entry.path)} ({source.name(rival.path)} was read)")
        elif entry.path.stem == rival.path.stem and entry.path.parent == rival.path.parent:
            raise DataError(
                f"{rival.path}: holds {len(rival)} craters and {entry.path.name} {len(entry)}, not "
                "the same, of the same images; name the file to read")
        else:
            notes.count("result file(s) hold other craters of the same images and were not read "
                        "(name the file to read it)",
                        f"{source.name(entry.path)} with {len(entry)} "
                        f"({source.name(rival.path)} with {len(rival)} was read)")
    return chosen


def _place(source: Source, found: Found, chosen: np.ndarray,
           placed: Sequence[tuple[Path, Georeference]], labels: dict[Path, list[Label]],
           notes: Notes) -> None:
    """Adds craters with places to the images that are named, or to all that show them: what was
    found in each of two images that share ground once, where a third shows both."""
    groups = []
    for name in dict.fromkeys(found.images[chosen]):
        these, group = chosen & (found.images == name), Group(str(name), False, defaultdict(list))
        groups.append(group)
        named = _named(source, found, name)
        images = [entry for entry in placed if entry[0] == named] or list(placed)
        if found.layer is not None:
            drawn = these & (shapely.get_type_id(found.layer.shapes) > 0)
            vector.refuse_other_bodies(found.path, found.layer, images)
            vector.outlines(found.layer, drawn, images, group.labels, notes)
            these &= ~drawn
        numbers = np.flatnonzero(these & (found.diameter_km > 0))
        if len(numbers):
            place(Craters(source.name(found.path), found.rows[numbers], found.lonlat[numbers],
                          found.diameter_km[numbers], _lonlat, found.what,
                          names=found.names[numbers]), images, group.labels, notes,
                  source.diameters_km)
        lost = np.flatnonzero(these & ~(found.diameter_km > 0))
        rows = Rows(source.name(found.path), notes, found.what)
        rows.add(found.rows[lost], found.diameter_km[lost],
                 "has the diameter {:g} km, expected a number above 0; correct it")
        rows.close()
    for path, entries in once(groups, notes).items():
        labels[path] += entries


def _lonlat(georeference: Georeference, places: np.ndarray) -> np.ndarray:
    """Places as our files give them (`Body.from_geodetic`) in an image's system."""
    if body_of(georeference).planetocentric:
        return georeference.from_planetocentric(places)
    return np.asarray(places, np.float64)


def _draw(source: Source, found: Found, chosen: np.ndarray, labels: dict[Path, list[Label]],
          notes: Notes) -> None:
    """Adds craters in px to the images that are named; to the only image there is, if that has
    another name."""
    known: dict[object, Path] = {}
    names = list(dict.fromkeys(found.images[chosen])) or [""]
    for name in names:
        with notes.entry(f"{source.name(found.path)}: its image" if not name else
                         source.name(found.path)):
            known[name] = _image(source, found, name, len(names))
            labels.setdefault(known[name], [])
    for number in np.flatnonzero(chosen).tolist():
        path = known.get(found.images[number])
        where = f"{source.name(found.path)}: {found.what} {found.rows[number]}"
        if path is not None:
            with notes.entry(where):
                labels[path].append(_label(found, number, path, where))


def _image(source: Source, found: Found, name: str, count: int) -> Path:
    if name:
        return source.find_image(name, found.path, any_suffix=True)
    if len(source.images) != 1 or count != 1:
        raise Bad(f"is not said, and there are {len(source.images)}; give the one image, or "
                  "results that say file_name")
    return source.images[0]


def _named(source: Source, found: Found, name: str) -> Path | None:
    """The image of a name, whatever folders it names; None where it is not there."""
    try:
        return source.find_image(name, found.path, any_suffix=True)
    except Bad:
        return None


def _label(found: Found, number: int, path: Path, where: str) -> Label:
    name, kind = str(found.names[number]), "outline"
    if found.runs is not None:
        runs = found.runs[number]
        if isinstance(runs, dict):
            rings, holes = outlines_of_runs(runs, read_header(path)[:2])
            return Label(rings, name, "mask", where, holes=holes)
        if runs is not None:
            return Label(outline.from_polygons(runs), name, "outline", where)
    shape = None if found.layer is None else found.layer.shapes[number]
    if shape is not None and not shape.is_empty and shape.geom_type in ("Polygon", "MultiPolygon"):
        rings = tuple(shapely.get_coordinates(part.exterior)[:-1]
                      for part in shapely.get_parts(shape))
        return Label(rings, name, kind, where)
    ellipse = found.ellipses[number]
    if not np.isfinite(ellipse).all() or min(ellipse[2:4]) <= 0:
        raise Bad("has neither an outline nor an ellipse of finite numbers; correct or delete it")
    x, y, major, minor, angle = ellipse.tolist()
    if found.diameter_px[number] > 0:  # its area is better known than its ellipse's
        factor = found.diameter_px[number] / np.sqrt(major * minor)
        major, minor = factor * major, factor * minor
    return Label((outline.ellipse(x, y, major / 2, minor / 2, angle),), name,
                 "ellipse" if found.runs is None else "box", where)
