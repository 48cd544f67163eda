"""Terrain like the Moon's, rendered with its crater rims known exactly."""

from crater_model.synthesis.dataset import synthesize
from crater_model.synthesis.scene import Rendered, render_scene

__all__ = ["Rendered", "render_scene", "synthesize"]
