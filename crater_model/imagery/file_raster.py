"""Image files that GDAL reads in windows: what is in them, stretched to 8 bits.

Values of more than 8 bits are stretched to 1..255 between two percentiles of the whole image;
0 is left for missing ground.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as _Window

from crater_model.errors import DataError
from crater_model.imagery.addresses import gdal_name, gdal_options, is_remote, label_beside, suffix
from crater_model.imagery.base import WHOLE_BYTES, Raster, Window
from crater_model.imagery.missing import MARGIN, MissingGround, find_missing, without_specks
from crater_model.imagery.orientation import gdal_orientation, turned_problem
from crater_model.imagery.place import place_of
from crater_model.imagery.projection import latitudes_unsaid
from crater_model.imagery.specials import named, special_values
from crater_model.imagery.stretch import PERCENTILES, Stretch, sampled, stretch_of, strips

# GDAL's formats that say how large a file's values are and refer to no other place.
_DRIVERS = (
    "GTiff", "PNG", "JPEG", "JP2OpenJPEG", "PDS", "PDS4", "ISIS3", "ISIS2", "VICAR",
    "AAIGrid", "EHdr", "ENVI", "ERS", "FITS", "GSAG", "GSBG", "GS7BG", "HFA", "ILWIS", "ISCE",
    "MFF", "NITF", "PAux", "PCIDSK", "PCRaster", "RMF", "ROI_PAC", "RRASTER", "SAGA",
    "SRTMHGT", "USGSDEM")
# Of other formats' files, by their suffix: what GDAL would need to read them.
_MISSING_DRIVERS = {".fits": "FITS", ".fit": "FITS", ".fts": "FITS"}
# GDAL's cache of decoded blocks, MB; by default it grows with the machine's memory.
_CACHE_MB = 64
# PDS and ISIS keep the ends of the number range for "null", "saturated" and the like.
_SPECIAL_DRIVERS = ("PDS", "PDS4", "ISIS3", "ISIS2")
_SPECIAL_INT16 = -32752
_SPECIAL_FLOAT = 1e38


class FileRaster(Raster):
    """A file that GDAL reads in windows.

    Attributes:
      driver, dtype: GDAL's name of the format; the type of its values.
      block_rows: rows of a block, px; tiled: whether blocks are narrower than the image.
      plain: a TIFF of 8-bit grey or RGB and nothing else, as data sets may hold.
    """

    def __init__(self, path: str | Path, percentiles: tuple[float, float] = PERCENTILES):
        self.name, self._percentiles = path, percentiles
        self._source = open_dataset(path)
        try:
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
        if (turn := gdal_orientation(source, self.name)) != 1:
            raise DataError(turned_problem(self.name, turn))
        rows, columns = source.block_shapes[0]
        size = rows * columns * np.dtype(source.dtypes[0]).itemsize * len(data_bands)
        if size > WHOLE_BYTES:
            raise DataError(f"{self.name}: is stored in blocks of {columns}x{rows} px, which "
                            "cannot be read in parts; tile it, for example with gdal_translate "
                            "-of COG")
        self.dtype = np.dtype(source.dtypes[0])
        self._indexes = data_bands if len(data_bands) > 1 else data_bands[0]
        self.bands = len(data_bands)
        flags = {flag.name for i in data_bands for flag in source.mask_flag_enums[i - 1]}
        self._masked = "all_valid" not in flags
        self.block_rows = rows
        self.tiled = columns < self.width
        self.plain = (self.driver == "GTiff" and self.dtype == np.uint8
                      and source.count == self.bands)
        self.georeference, self.lacks = place_of(source, self.name)

    @functools.cached_property
    def _survey(self) -> tuple[Stretch | None, dict[float, float]]:
        """The stretch and the special values, from one look at all of it."""
        if self.dtype == np.uint8:
            return None, {}
        values = sampled(self, self._declared)
        special = special_values(values)
        if special:
            values = values[~np.isin(values, np.array(list(special), values.dtype))]
        return stretch_of(values, self._percentiles), special

    @property
    def stretch(self) -> Stretch | None:  # type: ignore[override]
        return self._survey[0]

    @property
    def has_invalid(self) -> bool:  # type: ignore[override]
        return bool(self._masked or self.dtype.kind == "f" or self.driver in _SPECIAL_DRIVERS
                    or self._survey[1])

    @property
    def remarks(self) -> tuple[str, ...]:
        said = []
        if self.georeference is not None and latitudes_unsaid(self.georeference.crs):
            said.append(f"{self.name}: its coordinate system does not say of which kind its "
                        "latitudes are; taken for planetographic, give a code such as "
                        "IAU_2015:49912 if they are not")
        if self._survey[1]:
            said.append(f"{self.name}: {named(self._survey[1])}")
        return tuple(said)

    @functools.cached_property
    def missing(self) -> MissingGround | None:
        if not self.has_invalid:
            return None
        rows = max(1, 2**22 // (self.width * self.block_rows)) * self.block_rows
        found = find_missing(self.width, self.height, (
            (top, empty) for top, height in strips(self.height, min(rows, 2**12))
            for empty in [self._empty(top, height)] if empty is not None))
        return found if found.pixels else None

    def _empty(self, top: int, height: int) -> np.ndarray | None:
        valid = self.values(0, top, self.width, height)[1]
        return None if valid is None else ~valid

    def values(self, left: int, top: int, width: int, height: int
               ) -> tuple[np.ndarray, np.ndarray | None]:
        """The file's own values, [h, w] or [h, w, 3], and where they are some (or None: all)."""
        values, valid = self._declared(left, top, width, height)
        if self._survey[1]:
            bad = _of_a_pixel(np.isin(values, np.array(list(self._survey[1]), values.dtype)))
            valid = ~bad if valid is None else valid & ~bad
        return values, valid

    def _declared(self, left: int, top: int, width: int, height: int
                  ) -> tuple[np.ndarray, np.ndarray | None]:
        """The same, as far as the file and its format say."""
        window = _Window(left, top, width, height)
        with gdal_errors(self.name):
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
        return _of_a_pixel(bad)

    def read(self, left: int, top: int, width: int, height: int) -> Window:
        values, valid = self.values(left, top, width, height)
        if valid is None or valid.all():
            return Window(self._as_bytes(values), None)
        found = self.missing
        gone = found.at(~valid, left, top) if found else np.zeros(valid.shape, bool)
        if (valid | gone).all():
            pixels = self._as_bytes(values)
        else:  # dead pixels are mended by what is around them, beyond the window too
            x0, y0 = max(0, left - MARGIN), max(0, top - MARGIN)
            x1 = min(self.width, left + width + MARGIN)
            y1 = min(self.height, top + height + MARGIN)
            values, wide = self.values(x0, y0, x1 - x0, y1 - y0)
            assert wide is not None  # some of the window's pixels have no data
            lost = found.at(~wide, x0, y0) if found else np.zeros(wide.shape, bool)
            pixels = without_specks(self._as_bytes(values), ~wide, lost)
            pixels = pixels[top - y0:top - y0 + height, left - x0:left - x0 + width].copy()
        if not gone.any():
            return Window(pixels, None)
        pixels[gone] = 0
        return Window(pixels, ~gone)

    def _as_bytes(self, values: np.ndarray) -> np.ndarray:
        return values if self.stretch is None else self.stretch.apply(values, None)

    def close(self) -> None:
        self._source.close()


def _of_a_pixel(bad: np.ndarray) -> np.ndarray:
    """Whether any band is, [h, w]."""
    return np.asarray(bad.any(axis=-1)) if bad.ndim == 3 else bad


def open_dataset(path: str | Path) -> rasterio.DatasetReader:
    """A file opened by GDAL; by its detached label where that is what GDAL reads.

    Raises:
      DataError: missing, of a kind that is not read, or it may not be read.
    """
    label = None if is_remote(path) else label_beside(Path(path))
    with gdal_errors(path):
        try:
            source = rasterio.open(gdal_name(path))
        except RasterioError:
            if label is None:
                raise
            source = rasterio.open(gdal_name(label))
    if source.driver not in _DRIVERS and not (source.driver == "VRT" and suffix(path) == ".vrt"):
        source.close()
        raise DataError(f"{path}: is a {source.driver} file, expected PNG, JPEG, TIFF, PDS or "
                        "ISIS; convert it")
    return source


@contextmanager
def gdal_errors(name: str | Path) -> Iterator[None]:
    """GDAL's errors as one line; its cache kept small."""
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB, GDAL_PNG_WHOLE_IMAGE_OPTIM="NO",
                      **gdal_options(name)), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            yield
        except (RasterioError, ValueError, MemoryError) as error:
            reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
            raise DataError(f"{name}: cannot be read as an image ({reason}), expected a whole "
                            f"PNG, JPEG, TIFF, PDS or ISIS file; {_fix(name)}") from None


def _fix(name: str | Path) -> str:
    driver = _MISSING_DRIVERS.get(suffix(name))
    with rasterio.Env() as env:
        if driver and driver not in env.drivers():
            return (f"the GDAL in use has no driver for {driver}: convert it elsewhere, for "
                    "example with gdal_translate -of GTiff")
    if is_remote(name) and not str(name).startswith("/vsi"):
        return ("correct the address or give the right to read it (AWS_*, GS_* or "
                "GOOGLE_APPLICATION_CREDENTIALS in the environment, as GDAL reads them)")
    if suffix(name) == ".img":
        stem = Path(name).stem
        return (f"if it is the data alone, put its label ({stem}.LBL or {stem}.xml) beside it; "
                "else fetch it again")
    return "fetch or export it again"


