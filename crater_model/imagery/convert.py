"""Images of any kind written as 8-bit GeoTIFFs, a strip at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

from crater_model.imagery.base import Raster
from crater_model.imagery.stretch import strips
from crater_model.progress import Progress

# Side of the blocks of a written file, px.
_BLOCK = 256


def write_8bit(raster: Raster, path: str | Path) -> None:
    """Writes an image as a tiled 8-bit (Geo)TIFF, in windows; blocks without data take no
    room.

    Missing ground becomes 0, which the file declares as no-data; the darkest others 1.
    """
    georeference = raster.georeference
    place = {} if georeference is None else {
        "crs": georeference.crs, "transform": rasterio.Affine(*georeference.transform)}
    with rasterio.Env(GDAL_CACHEMAX=64), \
            Progress(f"converting {Path(raster.name).name}", raster.height) as progress, \
            rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=raster.bands,
                          width=raster.width, height=raster.height, tiled=True,
                          blockxsize=_BLOCK, blockysize=_BLOCK, compress="deflate", predictor=2,
                          sparse_ok=True, bigtiff="if_safer",
                          nodata=0 if raster.has_invalid else None, **place) as out:
        for top, height in strips(raster.height, _BLOCK):
            pixels, valid = raster.read(0, top, raster.width, height)
            if raster.has_invalid and raster.stretch is None:
                good = np.ones(pixels.shape[:2], bool) if valid is None else valid
                pixels[good] = np.maximum(pixels[good], 1)
            if pixels.any():
                bands = pixels[None] if raster.bands == 1 else np.moveaxis(pixels, -1, 0)
                out.write(bands, window=Window(0, top, raster.width, height))
            progress.update(top + height)
