"""Windows over a scene."""

from __future__ import annotations

import math

# Rounding of a scene's size in px at another scale.
_EPSILON = 1e-6


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Whole px of an image at another scale; a remainder at the right and below is left out."""
    return math.floor(width * scale + _EPSILON), math.floor(height * scale + _EPSILON)


def positions(length: int, chip: int, overlap: float) -> list[int]:
    """First pixels of evenly spread windows of `chip` px that cover `length` px and share
    at least `overlap` of themselves."""
    steps = math.ceil((length - chip) / max(1.0, chip * (1 - overlap)))
    return [round(i * (length - chip) / steps) for i in range(steps + 1)] if steps > 0 else [0]
