"""Images of any size, read in windows as 8-bit pixels.

PNG and JPEG are decoded whole, as they are shown (EXIF's orientation); everything else (TIFF and
GeoTIFF, PDS, ISIS cubes, JPEG 2000, 16-bit PNG, what lies behind an address) is read by GDAL, a
window at a time. Values of more than 8 bits are stretched to 1..255 between two percentiles of
the whole image; 0 is left for missing ground.
"""

from __future__ import annotations

import functools
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from crater_model.errors import DataError
from crater_model.imagery.addresses import is_remote
from crater_model.imagery.base import (
    WHOLE_BYTES,
    ArrayRaster,
    Raster,
    Window,
    filled,
    read_whole,
)
from crater_model.imagery.file_raster import FileRaster, gdal_errors, open_dataset
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.orientation import orientation, shown_size
from crater_model.imagery.pixels import decode, read_file
from crater_model.imagery.place import NO_GEOREFERENCE, place_of
from crater_model.imagery.stretch import PERCENTILES

__all__ = ["SUFFIXES", "ArrayRaster", "FileRaster", "Header", "Raster", "WholeFile", "Window",
           "filled", "open_raster", "open_scene", "read_header", "read_whole"]

# Suffixes that are taken for images.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".img", ".lbl", ".cub", ".jp2", ".xml",
            ".vrt", ".fits", ".fit", ".fts", ".bsq", ".bil", ".bip", ".ntf", ".ers")
_WHOLE_SUFFIXES = (".png", ".jpg", ".jpeg")


class WholeFile(ArrayRaster):
    """A PNG or JPEG file, decoded whole and as it is shown.

    Attributes:
      as_stored: its file shows the same to readers that know of neither EXIF nor alpha.
    """

    def __init__(self, path: Path):
        pixels, empty, turn = decode(read_file(path), path)
        super().__init__(pixels, path, empty=empty)
        self._path, self.as_stored = path, turn == 1 and (empty is None or not empty.any())

    @functools.cached_property
    def _header(self) -> Header:
        try:
            return read_header(self._path)
        except DataError:  # one that Pillow can read and GDAL cannot has no place
            return Header(self.width, self.height, None, NO_GEOREFERENCE)

    @property
    def georeference(self) -> Georeference | None:  # type: ignore[override]
        return self._header.georeference

    @property
    def lacks(self) -> str:  # type: ignore[override]
        return self._header.lacks


class Header(NamedTuple):
    """What an image file says before its pixels: size in px as it is shown, its place or None,
    and what it lacks for one."""

    width: int
    height: int
    georeference: Georeference | None
    lacks: str = ""


def read_header(path: str | os.PathLike) -> Header:
    """Size and georeference of an image of any kind, without reading its pixels.

    A PNG or JPEG has a georeference where a world file or .aux.xml beside it says so.

    Raises:
      DataError: missing, or no image that `open_raster` reads.
    """
    name = _checked(path)
    turn = (1 if isinstance(name, str) or name.suffix.lower() not in _WHOLE_SUFFIXES
            else orientation(name))
    with gdal_errors(name), open_dataset(name) as source:
        place, lacks = place_of(source, name)
        if place is not None and turn != 1:
            raise DataError(f"{name}: is stored turned (EXIF orientation {turn}) and has a "
                            "georeference, of which it is not known whether it is turned too; save "
                            "it upright")
        return Header(*shown_size(source.width, source.height, turn), place, lacks)


def open_raster(path: str | os.PathLike, percentiles: tuple[float, float] = PERCENTILES) -> Raster:
    """Opens an image of any kind.

    Args:
      path: PNG, JPEG, TIFF, GeoTIFF, PDS, ISIS, JPEG 2000 and others that GDAL reads; one band or
        RGB. A file, or an address (`addresses.gdal_name`).
      percentiles: of the stretch, where the values have more than 8 bits.

    Raises:
      DataError: missing, broken, of another kind, or too large to be decoded whole where
        it has to be (PNG and JPEG).
    """
    name = path if is_remote(path) else Path(path)
    if isinstance(name, Path) and name.suffix.lower() in _WHOLE_SUFFIXES and not _is_deep(name):
        _refuse_huge(name)
        return WholeFile(name)
    return FileRaster(_checked(path), percentiles)


def open_scene(path: str | Path) -> Raster:
    """Opens an image of a data set: PNG, JPEG or TIFF of 8 bits.

    Raises:
      DataError: as `open_raster`, or it has more than 8 bits a value.
    """
    raster = open_raster(path)
    if isinstance(raster, FileRaster) and raster.dtype != np.uint8:
        raster.close()
        raise DataError(f"{path}: has more than 8 bits a value ({raster.dtype}), expected 8-bit "
                        "grey or RGB; stretch it with crater dataset import")
    return raster


def _checked(path: str | os.PathLike) -> str | Path:
    """An address, or the path of a file that is there."""
    if is_remote(path):
        return os.fspath(path)
    path = Path(path)
    if not path.is_file():
        read_file(path)  # says what is wrong with it
    return path


def _is_deep(path: Path) -> bool:
    """Whether a PNG or JPEG has more than 8 bits a value, as far as its header tells."""
    try:
        with Image.open(path) as image:
            return image.mode.startswith(("I", "F"))
    except Exception:  # Pillow's readers raise nearly anything; the decoder then says what
        return False


def _refuse_huge(path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                (width, height), bands = image.size, len(image.getbands())
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: is too large to be decoded whole ({error}); if that is right, "
                        "convert it, for example with gdal_translate -of COG") from None
    except Exception:  # as above
        return
    if width * height * bands > WHOLE_BYTES:
        raise DataError(f"{path}: is {width}x{height} px, too large to be decoded whole; convert "
                        "it, for example with gdal_translate -of COG")
