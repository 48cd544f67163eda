"""From tiles and detections to craters in the whole image, and to files."""

from crater_model.mapping.outlines import outlines
from crater_model.mapping.tiles import detect_image

__all__ = ["detect_image", "outlines"]
