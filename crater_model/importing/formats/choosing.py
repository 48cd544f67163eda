"""Which layers hold craters: told from areas, notes and lines by name and by what they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import shapely

from crater_model.errors import DataError
from crater_model.importing.formats.layers import Layer
from crater_model.importing.formats.source import Notes

_CRATERS = {"crater", "craters", "rim", "rims"}
_AREAS = {"area", "areas", "aoi", "extent", "extents", "footprint", "footprints", "boundary",
          "boundaries", "roi", "frame", "coverage", "outline_of_area", "studyarea", "mappedarea",
          "countarea", "countingarea"}
_HOW = "name those to read with --layer"


def choose(layers: Sequence[Layer], wanted: Sequence[str], notes: Notes) -> list[Layer]:
    """The layers that hold craters; each other one is counted in `notes`, with why.

    Where layers are `wanted` by name, those. Else, where there are several: not the areas of
    pairs such as x_CRATER and x_AREA and others of such names or attributes, not points without
    a diameter, not lines that are not closed; and of a file that has layers named for craters,
    only those. A single layer is read whatever its name.

    Raises:
      DataError: a wanted layer is missing, or none is left.
    """
    layers = list(layers)
    if wanted:
        titles = {layer.title for layer in layers}
        missing = [name for name in wanted if name not in titles]
        if missing:
            raise DataError(f"{layers[0].path if layers else 'labels'}: no layer {missing[0]!r}, "
                            f"expected one of {', '.join(sorted(titles)) or 'none'}; name another "
                            "(--layer)")
        return [layer for layer in layers if layer.title in wanted]
    kept = layers
    for why, fits in (("areas", _is_area(layers)),
                      ("no craters by their names", _others(layers)),
                      ("lines", [_is(layer, 1, 5) for layer in layers]),
                      ("points without a diameter", [_is(layer, 0, 4) and not layer.has_diameter
                                                     for layer in layers])):
        out = {id(layer) for layer, unfit in zip(layers, fits, strict=True) if unfit}
        left = [layer for layer in kept if id(layer) not in out]
        if not left and why != "areas":
            continue  # it alone is what there is, and its features say what is wrong
        for layer in kept:
            if id(layer) in out:
                if not left and not layer.is_area:
                    left.append(layer)  # alone, whatever its name
                    continue
                notes.count(f"layer(s) were not read, as they hold {why} ({_HOW})",
                            layer.name)
        kept = left
    if layers and not kept:
        raise DataError(f"{layers[0].name}: holds areas ({', '.join(layers[0].fields)}) and there "
                        f"is no layer of craters beside; give that too, or {_HOW}")
    return kept


def enclosing(layers: Sequence[Layer], shapes: Sequence[Sequence[np.ndarray]]) -> set[int]:
    """Which layers are areas by what they hold: a few outlines around nearly all that the other
    layers have, and no diameters.

    Args:
      shapes: of each layer its outlines in px, of all images side by side.
    """
    found = set()
    for number, layer in enumerate(layers):
        own, others = shapes[number], [ring for i, rings in enumerate(shapes) if i != number
                                       and i not in found for ring in rings]
        if layer.has_diameter or _word(layer.title, _CRATERS) or not own or (
                len(others) < 3 * len(own)):
            continue
        ground = shapely.union_all([shapely.make_valid(shapely.Polygon(ring)) for ring in own])
        middles = np.array([ring.mean(axis=0) for ring in others])
        if shapely.intersects_xy(ground, middles).mean() >= 0.9:
            found.add(number)
    return found


def _words(title: str) -> list[str]:
    return re.findall("[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title).lower())


def _word(title: str, known: set[str]) -> bool:
    return bool(set(_words(title)) & known)


def _is_area(layers: Sequence[Layer]) -> list[bool]:
    pairs = {_remainder(layer.title, _CRATERS) for layer in layers} - {None}
    found = []
    for layer in layers:
        paired = _remainder(layer.title, _AREAS) in pairs
        named = _word(layer.title, _AREAS) and not _word(layer.title, _CRATERS)
        found.append(layer.is_area or (paired and not layer.has_diameter) or (
            named and not layer.has_diameter and not _is(layer, 0, 4)))
    return found


def _remainder(title: str, known: set[str]) -> tuple[str, ...] | None:
    """What is left of a name that begins or ends with one of these words."""
    words = re.findall("[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", title).lower())
    if words and words[-1] in known:
        return tuple(words[:-1])
    if words and words[0] in known:
        return tuple(words[1:])
    return None


def _others(layers: Sequence[Layer]) -> list[bool]:
    """Layers of a file beside those that are named for craters."""
    files = {layer.path for layer in layers if _word(layer.title, _CRATERS)
             and any(other.path == layer.path and other is not layer for other in layers)}
    return [layer.path in files and not _word(layer.title, _CRATERS) for layer in layers]


def _is(layer: Layer, *kinds: int) -> bool:
    """Whether all the shapes of a layer are of these kinds."""
    found = shapely.get_type_id(layer.shapes)
    return len(found) > 0 and bool(np.isin(found, kinds).all())
