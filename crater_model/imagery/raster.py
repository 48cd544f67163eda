"""Images of any size, read in windows as 8-bit pixels.

PNG and JPEG are decoded whole; everything else (TIFF and GeoTIFF, PDS, ISIS cubes, JPEG
2000, 16-bit PNG) is read by GDAL, a window at a time. Values of more than 8 bits are
stretched to 1..255 between two percentiles of the whole image; 0 is left for pixels
without data.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as _Window

from crater_model.errors import DataError
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.pixels import decode_image, read_file
from crater_model.imagery.stretch import PERCENTILES, Stretch, compute_stretch

# Suffixes that are taken for images.
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".img", ".lbl", ".cub", ".jp2", ".xml")
_WHOLE_SUFFIXES = (".png", ".jpg", ".jpeg")
# GDAL's formats that say how large a file's values are and refer to no other place.
_DRIVERS = ("GTiff", "PNG", "JPEG", "JP2OpenJPEG", "PDS", "PDS4", "ISIS3", "ISIS2", "VICAR")
# What has to be decoded in one piece may take this much (bytes): a whole PNG or JPEG, or
# one block of a TIFF.
_WHOLE_BYTES = 300 * 2**20
# GDAL's cache of decoded blocks, MB; by default it grows with the machine's memory.
_CACHE_MB = 64
# PDS and ISIS keep the ends of the number range for "null", "saturated" and the like.
_SPECIAL_DRIVERS = ("PDS", "PDS4", "ISIS3", "ISIS2")
_SPECIAL_INT16 = -32752
_SPECIAL_FLOAT = 1e38


class Window(NamedTuple):
    """A piece of an image.

    Attributes:
      pixels: uint8 [h, w] (grey) or [h, w, 3] (RGB); 0 where there are no data.
      valid: bool [h, w], False where there are no data; None: all are valid.
    """

    pixels: np.ndarray
    valid: np.ndarray | None


class Raster:
    """An image open for reading. Use it as a context manager.

    Attributes:
      name: what messages call it.
      width, height: px.
      bands: 1 (grey) or 3 (RGB).
      georeference: its place on a body, or None.
      stretch: how its values become 8 bits; None where they are 8 bits.
      has_invalid: whether some pixels may have no data.
    """

    name: str | Path
    width: int
    height: int
    bands: int
    georeference: Georeference | None = None
    stretch: Stretch | None = None
    has_invalid: bool = False

    def read(self, left: int, top: int, width: int, height: int) -> Window:
        """The window of this size (px) whose upper left pixel is (left, top); it must lie
        inside the image.

        Raises:
          DataError: the file is broken there.
        """
        raise NotImplementedError

    def close(self) -> None:
        pass

    def __enter__(self) -> Raster:
        return self

    def __exit__(self, *_) -> None:
        self.close()


class ArrayRaster(Raster):
    """Pixels that are in memory: uint8 [h, w] or [h, w, 3]."""

    def __init__(self, pixels: np.ndarray, name: str | Path = "image",
                 georeference: Georeference | None = None):
        self.pixels, self.name, self.georeference = pixels, name, georeference
        self.height, self.width = pixels.shape[:2]
        self.bands = 1 if pixels.ndim == 2 else 3

    def read(self, left: int, top: int, width: int, height: int) -> Window:
        return Window(self.pixels[top:top + height, left:left + width], None)


class FileRaster(Raster):
    """A file that GDAL reads in windows.

    Attributes:
      driver, dtype: GDAL's name of the format; the type of its values.
      block_rows: rows of a block, px; tiled: whether blocks are narrower than the image.
      plain: a TIFF of 8-bit grey or RGB and nothing else, as data sets may hold.
    """

    def __init__(self, path: Path, percentiles: tuple[float, float] = PERCENTILES):
        self.name, self._percentiles = path, percentiles
        with _gdal_errors(path):
            self._source = rasterio.open(Path(path).absolute())
        try:
            if self._source.driver not in _DRIVERS:
                raise DataError(_wrong_kind(path, self._source.driver))
            self._set_up()
        except BaseException:
            self._source.close()
            raise

    def _set_up(self) -> None:
        source = self._source
        self.width, self.height, self.driver = source.width, source.height, source.driver
        color = [c.name for c in source.colorinterp]
        data_bands = [i + 1 for i, name in enumerate(color) if name != "alpha"]
        if len(data_bands) not in (1, 3):
            raise DataError(f"{self.name}: has {len(data_bands)} bands, expected 1 (grey) or 3 "
                            "(RGB); extract them, for example with gdal_translate -b 1")
        kinds = {np.dtype(source.dtypes[i - 1]).kind for i in data_bands}
        if not kinds <= set("uif"):
            raise DataError(f"{self.name}: has values of the type {source.dtypes[0]}, expected "
                            "whole or real numbers; convert it")
        if "palette" in color:
            raise DataError(f"{self.name}: has a palette, expected grey or RGB values; convert it, "
                            "for example with gdal_translate -expand gray")
        rows, columns = source.block_shapes[0]
        size = rows * columns * np.dtype(source.dtypes[0]).itemsize * len(data_bands)
        if size > _WHOLE_BYTES:
            raise DataError(f"{self.name}: is stored in blocks of {columns}x{rows} px, which "
                            "cannot be read in parts; tile it, for example with gdal_translate "
                            "-of COG")
        self.dtype = np.dtype(source.dtypes[0])
        self._indexes = data_bands if len(data_bands) > 1 else data_bands[0]
        self.bands = len(data_bands)
        flags = {flag.name for i in data_bands for flag in source.mask_flag_enums[i - 1]}
        self._masked = "all_valid" not in flags
        self.has_invalid = (self._masked or self.dtype.kind == "f"
                            or self.driver in _SPECIAL_DRIVERS)
        self.block_rows = rows
        self.tiled = columns < self.width
        self.plain = (self.driver == "GTiff" and self.dtype == np.uint8
                      and source.count == self.bands)
        self.georeference = _georeference(source, self.name)

    @functools.cached_property
    def stretch(self) -> Stretch | None:  # type: ignore[override]
        if self.dtype == np.uint8:
            return None
        return compute_stretch(self, self._percentiles)

    def values(self, left: int, top: int, width: int, height: int
               ) -> tuple[np.ndarray, np.ndarray | None]:
        """The file's own values, [h, w] or [h, w, 3], and where they are valid (or None)."""
        window = _Window(left, top, width, height)
        with _gdal_errors(self.name):
            values = self._source.read(self._indexes, window=window)
            valid = self._source.dataset_mask(window=window) > 0 if self._masked else None
        if values.ndim == 3:
            values = np.moveaxis(values, 0, -1)
        unusable = self._unusable(values)
        if unusable is not None:
            valid = ~unusable if valid is None else valid & ~unusable
        return values, valid

    def _unusable(self, values: np.ndarray) -> np.ndarray | None:
        if self.dtype.kind == "f":
            bad = ~(np.abs(values) < _SPECIAL_FLOAT)  # NaN as well
        elif self.dtype == np.int16 and self.driver in _SPECIAL_DRIVERS:
            bad = values <= _SPECIAL_INT16
        else:
            return None
        return bad.any(axis=-1) if bad.ndim == 3 else bad

    def read(self, left: int, top: int, width: int, height: int) -> Window:
        values, valid = self.values(left, top, width, height)
        if self.stretch is not None:
            return Window(self.stretch.apply(values, valid), valid)
        if valid is not None:
            values[~valid] = 0
        return Window(values, valid)

    def close(self) -> None:
        self._source.close()


class Header(NamedTuple):
    """What an image file says before its pixels: size in px, and its place or None."""

    width: int
    height: int
    georeference: Georeference | None


def read_header(path: str | Path) -> Header:
    """Size and georeference of an image file of any kind, without reading its pixels.

    A PNG or JPEG has a georeference where a world file or .aux.xml beside it says so.

    Raises:
      DataError: missing, or no image that `open_raster` reads.
    """
    path = Path(path)
    if not path.is_file():
        read_file(path)  # says what is wrong with it
    with _gdal_errors(path), rasterio.open(path.absolute()) as source:
        if source.driver not in _DRIVERS:
            raise DataError(_wrong_kind(path, source.driver))
        return Header(source.width, source.height, _georeference(source, path))


def open_raster(path: str | Path, percentiles: tuple[float, float] = PERCENTILES) -> Raster:
    """Opens an image file of any kind.

    Args:
      path: PNG, JPEG, TIFF, GeoTIFF, PDS, ISIS or JPEG 2000; one band or RGB.
      percentiles: of the stretch, where the values have more than 8 bits.

    Raises:
      DataError: missing, broken, of another kind, or too large to be decoded whole where
        it has to be (PNG and JPEG).
    """
    path = Path(path)
    if path.suffix.lower() in _WHOLE_SUFFIXES and not _is_deep(path):
        _refuse_huge(path)
        return ArrayRaster(decode_image(read_file(path), path), path)
    if not path.is_file():
        read_file(path)  # says what is wrong with it
    return FileRaster(path, percentiles)


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


def read_whole(raster: Raster) -> np.ndarray:
    """All pixels, uint8 [h, w] or [h, w, 3]; DataError where they are too many for that."""
    if raster.width * raster.height * raster.bands > _WHOLE_BYTES:
        raise DataError(f"{raster.name}: {raster.width}x{raster.height} px are too many to be read "
                        "at once; cut it with crater dataset chips")
    return raster.read(0, 0, raster.width, raster.height).pixels


def filled(window: Window) -> np.ndarray:
    """The window's pixels; those without data take the mean of the others in each band.

    A detector standardises what it is given by its mean and deviation, so that this is
    what it makes of the padding around a small image.
    """
    pixels, valid = window
    if valid is None or valid.all() or not valid.any():
        return pixels
    pixels = pixels.copy()
    pixels[~valid] = np.round(pixels[valid].mean(axis=0)).astype(np.uint8)
    return pixels


def _wrong_kind(path: Path, driver: str) -> str:
    return f"{path}: is a {driver} file, expected PNG, JPEG, TIFF, PDS or ISIS; convert it"


def _georeference(source: rasterio.DatasetReader, name: str | Path) -> Georeference | None:
    if source.crs is None or source.transform.is_identity:
        return None
    try:
        return Georeference(source.crs.to_wkt(), tuple(source.transform)[:6], source.width,
                            source.height)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None


def _is_deep(path: Path) -> bool:
    """Whether a PNG or JPEG has more than 8 bits a value, as far as its header tells."""
    try:
        with Image.open(path) as image:
            return image.mode.startswith(("I", "F"))
    except Exception:  # Pillow's readers raise nearly anything; decode_image then says what
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
    if width * height * bands > _WHOLE_BYTES:
        raise DataError(f"{path}: is {width}x{height} px, too large to be decoded whole; convert "
                        "it, for example with gdal_translate -of COG")


@contextmanager
def _gdal_errors(name: str | Path) -> Iterator[None]:
    """GDAL's errors as one line; its cache kept small."""
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB, GDAL_PNG_WHOLE_IMAGE_OPTIM="NO"), \
            warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            yield
        except (RasterioError, ValueError, MemoryError) as error:
            reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
            raise DataError(f"{name}: cannot be read as an image ({reason}), expected a whole "
                            "PNG, JPEG, TIFF, PDS or ISIS file; fetch or export it again"
                            ) from None
