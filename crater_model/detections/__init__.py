"""What a detector finds, the craters it should find, and the rules by which the two agree."""

from crater_model.detections.container import Detections
from crater_model.detections.truth import Truth

__all__ = ["Detections", "Truth"]
