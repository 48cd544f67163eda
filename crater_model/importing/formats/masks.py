"""Instance masks beside images: a file for each crater, or one labelled raster an image.

Folders called masks, labels, annotations and the like hold PNG or TIFF files of their
images' sizes:

- one crater each: `IMG_anything.png` or `IMG/anything.png`, bright inside;
- all craters of an image: `IMG.png` or `IMG_mask.png`, where 0 (black) is background and
  each other value (number, palette index or colour) one crater; where there is just one
  other value, each patch is one.

Images without any mask are not taken: nobody has said that they show no crater.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from scipy import ndimage

from crater_model.annotations import outline
from crater_model.errors import DataError
from crater_model.imagery.raster import read_header
from crater_model.importing.formats.source import (
    Bad,
    Label,
    LabelledImage,
    Notes,
    Reading,
    Source,
    split_of,
)
from crater_model.progress import track

NAME = "masks"
TITLE = "instance masks, PNG or TIFF"

_FOLDERS = {"masks", "mask", "labels", "annotations", "instances", "segmentation", "gt"}
_SUFFIXES = (".png", ".tif", ".tiff")
_DRIVERS = ("PNG", "GTiff")
# What may follow an image's name in that of a raster of the whole image.
_WHOLE = re.compile("masks?|labels?|label_?ids|instances?|instance_?ids|seg|segmentation|gt")
_SEPARATORS = "_-. "
_CLASS = "crater"

# A mask is decoded whole, which takes some 10 bytes a pixel (px).
_MOST_PIXELS = 2**26
# The box of one crater; its trace takes some 50 bytes a pixel (px).
_MOST_TRACED = 2**23
# More craters than this are noise, and so are craters whose boxes (each is looked at by
# itself) together cover the image this often, or have so many pixels.
_MOST_INSTANCES = 100_000
_MOST_COVERED = 64
_MOST_BOXED = 2**29
# Values of a labelled raster lie below this: colours have 24 bits.
_VALUES = 2**24
# Values looked up at once: bounds the memory that it takes.
_AT_ONCE = 2**20
# GDAL's cache (MB) and its quick way with PNG, which takes files that are cut short.
_GDAL = {"GDAL_CACHEMAX": 64, "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO"}
# The largest block of a TIFF, bytes.
_MOST_BLOCK = 300 * 2**20
# Dim pixels this near to the brightest ones are the smoothed edge of a mask (px).
_EDGE = 2

Images = dict[str, list[Path]]


class _Mask(NamedTuple):
    """A mask file, its image, and whether it is of the whole image, not of one crater."""

    path: Path
    image: Path
    whole: bool


def recognise(source: Source) -> list[Path]:
    """The files in mask folders, if at least one has the name of an image elsewhere."""
    files, images = _sorted_out(source)
    for path in files:
        try:
            if _match(path, images, source) is None:
                continue
        except Bad:
            pass
        return files
    return []


def read(source: Source, files: list[Path], notes: Notes) -> Reading:
    """Outlines along the edges of the masks' pixels; never raises, since what is wrong with
    a mask is a problem of its own."""
    _, images = _sorted_out(source)
    masks: dict[Path, list[_Mask]] = defaultdict(list)
    for path in files:
        with notes.entry(source.name(path)):
            mask = _match(path, images, source)
            if mask is None:
                raise Bad(f"is the mask of no image below {source.image_root}; give it an image's "
                          "name (IMG.png, IMG_1.png or IMG/1.png) or move it away")
            masks[mask.image].append(mask)
    found = []
    for path in track(sorted(masks), "reading masks"):
        with notes.entry(source.name(path)):
            size = _size(path)
            image = LabelledImage(path, split=split_of(path, source.image_root))
            # Every mask is read, also behind one that is good.
            if sum(_add(mask, size, image, source, notes) for mask in masks[path]):
                found.append(image)
    left = {path for paths in images.values() for path in paths} - set(masks)
    notes.count("image(s) have no mask and were left out",
                source.name(min(left)) if left else "", len(left))
    return Reading(found, (_CLASS,))


def _add(mask: _Mask, size: tuple[int, int], image: LabelledImage, source: Source,
         notes: Notes) -> bool:
    """Adds the mask's craters to its image; says whether the mask could be used."""
    where = source.name(mask.path)
    with notes.entry(where):
        if not mask.whole:
            rings, holes = _one(_decoded(mask.path, size))
            image.labels.append(Label(rings, _CLASS, "mask", where, holes=holes))
            return True
        labels, names = _instances(_decoded(mask.path, size), where, notes)
        for number, box in _boxes(labels, len(names)):
            what = f"{where}: {names[number - 1]}"
            with notes.entry(what):
                rings, holes = _rings(labels[box] == number, box)
                image.labels.append(Label(rings, _CLASS, "mask", what, holes=holes))
        return True
    return False


def _sorted_out(source: Source) -> tuple[list[Path], Images]:
    """The mask files, and the images by their names without suffix, in small letters.

    Files below a folder that was named for the images are images, whatever it is called.
    """
    named = set(source.images) if source.image_root != source.root else set()
    files = [path for path in source.files if path.suffix.lower() in _SUFFIXES
             and path not in named and _place(path, source) is not None]
    images: Images = defaultdict(list)
    for path in source.images:
        if path in named or _place(path, source) is None:
            images[path.stem.lower()].append(path)
    return files, dict(images)


def _place(path: Path, source: Source) -> tuple[tuple[str, ...], str] | None:
    """The folders between the mask folder and the file, and the one that the mask folder
    stands in; None where the file is in no mask folder."""
    parts = path.relative_to(source.root).parts[:-1] if path.is_relative_to(source.root) else ()
    for place in reversed(range(len(parts))):
        if parts[place].lower() in _FOLDERS:
            return parts[place + 1:], parts[place - 1] if place else source.root.name
    # Where the images are elsewhere, the source may be the mask folder.
    if source.image_root.resolve().is_relative_to(source.root.resolve()):
        return None
    return parts, ""


def _match(path: Path, images: Images, source: Source) -> _Mask | None:
    """Which image a mask file is of, by its folders below the mask folder, then the longest
    beginning of its name, then the folder around; Bad where several would do."""
    place = _place(path, source)
    assert place is not None  # it is one of the files that `_split` has found
    below, around = place
    stem = path.stem.lower()
    for name in map(str.lower, reversed(below)):
        if name in images:
            return _Mask(path, _nearest(images[name], path), False)
    if stem in images:
        return _Mask(path, _nearest(images[stem], path), True)
    for end in (i for i in reversed(range(len(stem))) if stem[i] in _SEPARATORS):
        if stem[:end] in images:
            whole = _WHOLE.fullmatch(stem[end + 1:].strip(_SEPARATORS)) is not None
            return _Mask(path, _nearest(images[stem[:end]], path), whole)
    if around.lower() in images:
        return _Mask(path, _nearest(images[around.lower()], path), False)
    return None


def _nearest(found: list[Path], mask: Path) -> Path:
    """The image that shares the most folders' names with the mask (train, for example)."""
    folders = set(mask.parts)
    shared = [len(folders & set(path.parts[:-1])) for path in found]
    best = [path for path, number in zip(found, shared, strict=True) if number == max(shared)]
    if len(best) > 1:
        raise Bad(f"is the mask of {best[0].name}, but there are {len(best)} images of that name "
                  f"({best[0]}, {best[1]}); rename them")
    return best[0]


def _size(path: Path) -> tuple[int, int]:
    try:
        return read_header(path)[:2]
    except DataError as error:
        raise Bad(f"cannot be used: {error}") from None


def _decoded(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The mask's values, whole numbers [1 or 3, h, w]; 0 where it is transparent."""
    if (found := _size(path)) != size:
        raise Bad(f"is {found[0]}x{found[1]} px, but its image has {size[0]}x{size[1]} px; export "
                  "it again")
    if size[0] * size[1] > _MOST_PIXELS:
        raise Bad(f"is {size[0]}x{size[1]} px, too large for a mask; cut the image and its masks")
    try:
        with warnings.catch_warnings(), rasterio.Env(**_GDAL):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return _values(path)
    except (RasterioError, MemoryError) as error:
        reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        raise Bad(f"cannot be read ({reason}), expected a whole PNG or TIFF file; export it "
                  "again") from None


def _values(path: Path) -> np.ndarray:
    with rasterio.open(path.absolute()) as file:
        if file.driver not in _DRIVERS:
            raise Bad(f"is a {file.driver} file, expected PNG or TIFF; convert it")
        data = [i for i, kind in zip(file.indexes, file.colorinterp, strict=True)
                if kind.name != "alpha"]
        rows, columns = file.block_shapes[0]
        kind = np.dtype(file.dtypes[0])
        if len(data) not in (1, 3) or kind.kind not in "ui":
            raise Bad(f"has {len(data)} band(s) of {kind}, expected whole numbers or RGB "
                      "colours; export it again")
        if rows * columns * kind.itemsize * len(data) > _MOST_BLOCK:
            raise Bad(f"is stored in blocks of {columns}x{rows} px; export it again")
        bands = file.read(data)
        if len(data) < file.count:
            alpha = next(i for i in file.indexes if i not in data)
            bands[:, file.read(alpha) == 0] = 0
        return bands


def _one(bands: np.ndarray) -> tuple[outline.Rings, bool]:
    """The outlines of a mask of one crater, and whether it has holes: what is brighter than half
    its brightest."""
    grey = bands.max(axis=0)
    high = int(grey.max())
    if high <= 0:
        raise Bad("marks no pixel, expected values above 0 in the crater; draw or delete it")
    _refuse_full(grey)
    inside = (grey > high // 2).astype(np.uint8)
    left, top, width, height = cv2.boundingRect(inside)
    box = slice(top, top + height), slice(left, left + width)
    return _rings(inside[box], box)


def _instances(bands: np.ndarray, where: str, notes: Notes) -> tuple[np.ndarray, list[str]]:
    """A labelled raster as int32 [h, w] with 1, 2, ... in its craters, and what messages
    call them."""
    codes, colour = _codes(bands)
    del bands  # memory
    if codes.min() < 0 or codes.max() >= _VALUES:
        raise Bad(f"has values from {codes.min()} to {codes.max()}, expected 0 to {_VALUES - 1}; "
                  "export it again")
    _refuse_full(codes)
    table = np.zeros(int(codes.max()) + 1, np.int32)
    for rows in _strips(codes):
        table[codes[rows]] = 1
    table[0] = 0
    values = np.flatnonzero(table)
    if not len(values):
        notes.count("mask(s) are 0 everywhere: images without craters", where)
    if len(values) == 1 or (not colour and _is_smoothed(codes, values)):
        notes.count("mask(s) have one value for all craters; each patch was taken for one", where)
        labels, number = ndimage.label(codes > values[-1] // 2, np.ones((3, 3)))
        names = [f"patch {i}" for i in range(1, number + 1)]
    else:
        table[values] = np.arange(1, len(values) + 1)
        labels = np.empty(codes.shape, np.int32)
        for rows in _strips(codes):
            labels[rows] = table[codes[rows]]
        names = [f"colour #{v:06x}" if colour else f"value {v}" for v in values.tolist()]
    return labels, names


def _codes(bands: np.ndarray) -> tuple[np.ndarray, bool]:
    """One whole number [h, w] a pixel, and whether it stands for a colour."""
    if len(bands) == 1 or ((bands[0] == bands[1]).all() and (bands[0] == bands[2]).all()):
        return bands[0], False
    if bands.dtype != np.uint8:
        raise Bad(f"has colours of {bands.dtype}, expected 8 bits each; export it again")
    codes = np.zeros(bands.shape[1:], np.int32)
    for band in bands:
        codes <<= 8
        codes |= band
    return codes, True


def _is_smoothed(codes: np.ndarray, values: np.ndarray) -> bool:
    """Whether all values but the brightest are just the soft edges of what has that."""
    if len(values) < 3 or values[-1] not in (255, 65535):
        return False
    bright = (codes == values[-1]).astype(np.uint8)
    near = cv2.dilate(bright, np.ones((2 * _EDGE + 1, 2 * _EDGE + 1), np.uint8))
    return bool((near[codes > 0] > 0).all())


def _refuse_full(values: np.ndarray) -> None:
    if (low := values.min()) > 0:
        raise Bad(f"has values from {low} to {values.max()} and no background, expected 0 (black) "
                  "outside of craters; export it again")


def _boxes(labels: np.ndarray, count: int) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """(number, its box) of every crater in a labelled raster; Bad where it is noise."""
    if count > _MOST_INSTANCES:
        raise Bad(f"holds {count} craters, expected at most {_MOST_INSTANCES}; it looks like noise "
                  "or an image")
    boxes = ndimage.find_objects(labels)
    total = sum((y.stop - y.start) * (x.stop - x.start) for y, x in boxes)
    if total > min(_MOST_COVERED * labels.size, _MOST_BOXED):
        raise Bad(f"holds {count} values that are spread all over it, expected each in one place; "
                  "it looks like noise or an image")
    yield from enumerate(boxes, start=1)


def _rings(part: np.ndarray, box: tuple[slice, slice]
           ) -> tuple[outline.Rings, bool]:
    """Outlines of a binary mask [h, w] whose upper left corner is the box's, and whether it has
    holes."""
    if part.size > _MOST_TRACED:
        raise Bad(f"covers {part.shape[1]}x{part.shape[0]} px, too much to be traced; give it as a "
                  "polygon in another format")
    rings, holes = outline.trace(part)
    return tuple(ring + (box[1].start, box[0].start) for ring in rings), holes


def _strips(values: np.ndarray) -> Iterator[slice]:
    rows = max(1, _AT_ONCE // values.shape[1])
    return (slice(top, top + rows) for top in range(0, len(values), rows))
