"""Label Studio's brush masks: RGBA values of the whole image in runs, packed into bits.

After the description of the encoding (github.com/thi-ng/umbrella, packages/rle-pack), which
the tool uses: 32 bits for the number of values, 5 for a value's width less 1, four times 4 for
widths of run lengths less 1; then runs: a bit (1: one value repeated, 0: values one by one), 2
bits for which width, the length less 1, and the value or values.
"""

from __future__ import annotations

import numpy as np

from crater_model.importing.formats.source import Bad, is_whole

# A mask is decoded whole, 4 bytes a pixel (px).
_MOST_PIXELS = 2**25
_BROKEN = "has a brush mask that is cut short; export it again"


def decode_brush(packed: object, width: int, height: int) -> np.ndarray:
    """Where the brush has painted: uint8 [height, width], 0 outside.

    Args:
      packed: a list of bytes.
      width, height: of the image, px.

    Raises:
      Bad: the mask is of another size, too large or broken.
    """
    if width * height > _MOST_PIXELS:
        raise Bad(f"has a brush mask of {width}x{height} px, too large to be decoded; draw "
                  "polygons")
    if not isinstance(packed, list) or not all(
            is_whole(value) and 0 <= value < 256 for value in packed):
        raise Bad("has a brush mask that is not a list of bytes; export it again")
    bits = _Bits(bytes(packed))
    count, size = bits.number(32), bits.number(5) + 1
    lengths = [bits.number(4) + 1 for _ in range(4)]
    if count != 4 * width * height or size > 8:
        raise Bad(f"has a brush mask of {count} values, expected {width}x{height} pixels of four; "
                  "export it again")
    values, place = np.zeros(count, np.uint8), 0
    while place < count:
        repeated = bits.number(1)
        end = place + bits.number(lengths[bits.number(2)]) + 1
        if end > count:
            raise Bad(_BROKEN)
        values[place:end] = (bits.number(size) if repeated else bits.numbers(end - place, size))
        place = end
    return values.reshape(height, width, 4)[..., 3]


class _Bits:
    """Numbers in a row of bits, the highest bit of each first."""

    def __init__(self, data: bytes):
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self._place = 0

    def number(self, size: int) -> int:
        return int(self.numbers(1, size)[0])

    def numbers(self, count: int, size: int) -> np.ndarray:
        end = self._place + count * size
        if end > len(self._bits):
            raise Bad(_BROKEN)
        part = self._bits[self._place:end].reshape(count, size).astype(np.int64)
        self._place = end
        return part @ (1 << np.arange(size - 1, -1, -1, dtype=np.int64))
