"""Image files and their pixels: 8-bit PNG and JPEG, grey or RGB."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from crater_model.errors import DataError

# EXIF's and TIFF's tag.
_ORIENTATION = 0x0112


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of a uint8 grey [h, w] or RGB [h, w, 3] image."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # On noisy terrain this is smaller than the usual strategy, and three times as fast.
    done, data = cv2.imencode(".png", image, [
        cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE])
    if not done:
        raise ValueError(f"Invalid image: got {image.dtype} {image.shape}, expected uint8 "
                         "[h, w] or [h, w, 3]")
    return data.tobytes()


def decode_image(data: bytes, name: str | Path) -> np.ndarray:
    """Pixels of a PNG or JPEG as it is shown: uint8 [h, w], or [h, w, 3] where it has colour.

    Raises:
      DataError: names `name`; not PNG or JPEG, cut short, or more than 8 bits.
    """
    return decode(data, name)[0]


def decode(data: bytes, name: str | Path) -> tuple[np.ndarray, np.ndarray | None, int]:
    """`decode_image` with where it is transparent, bool [h, w] (None: it cannot be), and EXIF's
    orientation, by which it has been turned."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            problem = image_problem(image, name)
            if problem is None:
                turn = turn_of(image)
                shown = ImageOps.exif_transpose(image)
                grey = shown.mode in ("1", "L", "LA")
                empty = None
                if shown.has_transparency_data:
                    empty = np.asarray(shown.convert("RGBA"))[..., 3] == 0
                return np.asarray(shown.convert("L" if grey else "RGB")), empty, turn
    except Exception as error:  # Pillow's decoders raise nearly anything on broken files
        problem = unreadable(name, error)
    raise DataError(problem)


def turn_of(image: Image.Image) -> int:
    """1 (shown as it is stored) to 8, EXIF's or TIFF's orientation of an opened image; 1 where it
    says none that there is."""
    return plausible_turn(image.getexif().get(_ORIENTATION, 1))


def plausible_turn(value: object) -> int:
    try:
        turn = int(str(value))
    except ValueError:
        return 1
    return turn if 1 <= turn <= 8 else 1


def image_problem(image: Image.Image, name: str | Path) -> str | None:
    """What makes an opened image unusable for training, or None."""
    if image.format not in ("PNG", "JPEG"):
        return f"{name}: is a {image.format} image, expected PNG or JPEG; convert it"
    if image.mode.startswith(("I", "F")):
        return (f"{name}: has more than 8 bits a pixel ({image.mode}), expected 8-bit grey or "
                "RGB; stretch it with crater dataset import")
    return None


def unreadable(name: str | Path, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "cannot identify image file" in reason:
        reason = "not an image"
    return (f"{name}: cannot be read as an image ({reason}), expected a whole PNG or JPEG; "
            "fetch or export it again")


def is_png_or_jpeg(path: Path) -> bool:
    """Whether the file's first bytes are a PNG's or a JPEG's."""
    with path.open("rb") as file:
        return file.read(8).startswith((b"\x89PNG", b"\xff\xd8"))


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file of any size; DataError as in `read_file`."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(_cannot_read(path, error)) from None


def read_file(path: Path) -> bytes:
    """The file's bytes; DataError where it is missing or is a folder."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(_cannot_read(path, error)) from None


def _cannot_read(path: Path, error: OSError) -> str:
    return (f"{path}: cannot be read ({error.strerror or error}), expected an image file; put it "
            "there or correct its file_name")
