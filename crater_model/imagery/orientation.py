"""How a camera or a program has turned an image: EXIF's and TIFF's "orientation"."""

from __future__ import annotations

from pathlib import Path

import rasterio
from PIL import Image

from crater_model.imagery.pixels import is_png_or_jpeg, plausible_turn, turn_of

# From 5 on rows and columns change places.
_SWAPPED = (5, 6, 7, 8)


def orientation(path: Path) -> int:
    """1 (as stored) to 8 of an image file that Pillow knows; 1 where it does not or none is
    said."""
    try:
        with Image.open(path) as image:
            return turn_of(image)
    except Exception:  # Pillow's readers raise nearly anything; the decoder then says what
        return 1


def is_as_shown(path: Path) -> bool:
    """Whether a file is a PNG or JPEG that decoders show as it is stored."""
    return is_png_or_jpeg(path) and orientation(path) == 1


def gdal_orientation(source: rasterio.DatasetReader, name: str | Path) -> int:
    """The same of a file that GDAL has opened."""
    if source.driver == "GTiff" and Path(name).is_file():
        # Of a map the rows and columns are those of its transform.
        return 1 if source.crs else orientation(Path(name))
    return plausible_turn(source.tags().get("EXIF_Orientation", 1))


def shown_size(width: int, height: int, turn: int) -> tuple[int, int]:
    """Width and height (px) of an image as it is shown, of those as it is stored."""
    return (height, width) if turn in _SWAPPED else (width, height)


def turned_problem(name: str | Path, turn: int) -> str:
    return (f"{name}: is stored turned (EXIF or TIFF orientation {turn}), which is read of whole "
            "8-bit PNG and JPEG files alone; save it upright")
