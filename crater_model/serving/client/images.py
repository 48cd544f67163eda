"""Images on their way out: encoded, named for messages, and gathered into batches."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import JpegImagePlugin, PngImagePlugin

from crater_model.errors import DataError

_READERS = {b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
            b"\xff\xd8\xff": JpegImagePlugin.JpegImageFile}

Image = np.ndarray | bytes | str | os.PathLike


@dataclass(frozen=True)
class Encoded:
    """One image on its way: its name for messages, its bytes, (height, width) px."""

    name: str
    data: bytes
    size: tuple[int, int]

    @property
    def megapixels(self) -> float:
        return self.size[0] * self.size[1] / 1e6


# An image that cannot be used keeps its place, so that the others keep theirs.
Item = Encoded | DataError


def encoded(image: Image, number: int, max_megapixels: float) -> Item:
    """What to send of the image of this number, or why it is not sent: also where it is larger
    than a server should be made to decode."""
    try:
        item = encode(image, number)
    except DataError as error:
        return error
    if item.megapixels <= max_megapixels:
        return item
    height, width = item.size
    return DataError(f"{item.name}: {width} x {height} px is {item.megapixels:.4g} megapixels, "
                     f"more than the {max_megapixels:g} that a server is sent (max_megapixels); "
                     "cut it into tiles, as crater detect does")


def encode(image: Image, number: int) -> Encoded:
    """Bytes to send and the size; arrays become PNG, files and bytes go as they are.

    Raises:
      DataError: it cannot be read or encoded; the message names it.
    """
    if isinstance(image, np.ndarray):
        return _encode_array(image, f"image {number}")
    if isinstance(image, (bytes, bytearray, memoryview)):
        name, data = f"image {number}", bytes(image)
    else:
        name, data = _read(image, number)
    for start, reader in _READERS.items():
        if data.startswith(start):
            # Opened directly, so that Pillow's own limit of sizes is not asked.
            try:
                with reader(io.BytesIO(data)) as header:
                    return Encoded(name, data, (header.height, header.width))
            except Exception:  # Pillow raises many kinds for what is no image
                break
    raise DataError(f"{name}: neither a PNG nor a JPEG image ({len(data)} bytes)")


def _encode_array(image: np.ndarray, name: str) -> Encoded:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.size == 0 or (
            image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise DataError(f"{name}: got {image.dtype} {list(image.shape)}, expected uint8 "
                        "[height, width] or [height, width, 3]")
    colour = image.ndim == 3 and image.shape[2] == 3
    # OpenCV's default level: a 1 MB image takes some 7 ms, zlib's level 6 over 25.
    done, data = cv2.imencode(".png", image[..., ::-1] if colour else image)
    if not done:
        raise DataError(f"{name}: cannot be encoded as PNG")
    return Encoded(name, data.tobytes(), image.shape[:2])


def _read(path: str | os.PathLike, number: int) -> tuple[str, bytes]:
    try:
        return str(path), Path(path).read_bytes()
    except TypeError:
        raise DataError(f"image {number}: got {type(path).__name__}, expected an array, bytes "
                        "or a path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}") from None


class Batcher:
    """Gathers items into batches of at most `max_images` images and, unless one image alone
    is more, `max_bytes` bytes and `max_megapixels` megapixels."""

    def __init__(self, max_images: int, max_bytes: int, max_megapixels: float):
        self._max_images, self._max_bytes = max_images, max_bytes
        self._max_megapixels = max_megapixels
        self._items: list[Item] = []
        self._bytes = self._megapixels = 0.0

    def add(self, item: Item) -> list[Item]:
        """Takes an item; gives the batch that is complete now, or an empty list."""
        size, megapixels = ((len(item.data), item.megapixels) if isinstance(item, Encoded)
                            else (0, 0.0))
        full = (self._bytes + size > self._max_bytes
                or self._megapixels + megapixels > self._max_megapixels)
        complete = self.rest() if self._items and full else []
        self._items.append(item)
        self._bytes += size
        self._megapixels += megapixels
        return self.rest() if len(self._items) >= self._max_images else complete

    def rest(self) -> list[Item]:
        """The items that wait for a batch to be complete; may be empty."""
        items, self._items, self._bytes, self._megapixels = self._items, [], 0.0, 0.0
        return items
