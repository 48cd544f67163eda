"""What is refused before the model runs: too many images, too large ones, and none at all.

A PNG of a few kB can stand for gigabytes of pixels. Its header says so, and reading headers
takes some 50 us an image, so that it is refused here and not by the machine's memory.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import grpc
import numpy as np
from PIL import JpegImagePlugin, PngImagePlugin

from crater_model.serving.servable import RequestError
from crater_model.serving.settings import Limits

IMAGES = "image_bytes"  # the input that holds encoded images
# The first bytes of a file -> its reader and the bytes that its pixels end with. Pillow's
# own limit on sizes, a global, is not asked when its readers are called directly.
_FORMATS = {b"\x89PNG\r\n\x1a\n": (PngImagePlugin.PngImageFile, b"IEND\xaeB`\x82"),
            b"\xff\xd8\xff": (JpegImagePlugin.JpegImageFile, b"\xff\xd9")}


def check_request(inputs: Mapping[str, np.ndarray], limits: Limits) -> float:
    """Gives the megapixels of all images of a request.

    Raises:
      RequestError: RESOURCE_EXHAUSTED for too many images. INVALID_ARGUMENT, with the
        image's place in the request, for one that is no whole PNG or JPEG or too large:
        sent again it would not fare better.
    """
    for name, array in inputs.items():
        if array.ndim and len(array) > limits.max_images:
            raise RequestError(grpc.StatusCode.RESOURCE_EXHAUSTED,
                               f"input {name!r} holds {len(array)} entries, this server takes "
                               f"{limits.max_images} a request (max_images); send several requests")
    total = 0.0
    for place, data in enumerate(inputs.get(IMAGES, np.empty(0)).ravel()):
        width, height = _size(place, data)
        total += width * height / 1e6
        if total > limits.max_megapixels:
            raise _bad(f"image {place} has {width} x {height} px, with those before it "
                       f"{total:.1f} megapixels; this server takes {limits.max_megapixels:g} a "
                       "request (max_megapixels); send fewer or smaller images")
    return total


def _size(place: int, data: bytes | str) -> tuple[int, int]:
    """(width, height) px, from the header."""
    data = data.encode() if isinstance(data, str) else data
    known = next((known for start, known in _FORMATS.items() if data.startswith(start)), None)
    if known is None:
        raise _bad(f"image {place}: Unknown image file format, expected PNG or JPEG "
                   f"({len(data)} bytes that begin with {data[:8]!r})")
    reader, end = known
    kind = "PNG" if reader is PngImagePlugin.PngImageFile else "JPEG"
    try:
        with reader(io.BytesIO(data)) as header:
            size = header.size
    except Exception as error:  # Pillow raises many kinds for a damaged file
        raise _bad(f"image {place}: the {kind} header cannot be read: {error}") from None
    if data.rfind(end) < 0:
        raise _bad(f"image {place}: the {kind} file ends before its pixels do "
                   f"({len(data)} bytes); send the whole file")
    return size


def _bad(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, text)
