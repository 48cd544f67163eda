"""From tiles and detections to craters in the whole image, and to files."""

from crater_model.mapping.sweep import batched, detect_image, map_image

__all__ = ["batched", "detect_image", "map_image"]
