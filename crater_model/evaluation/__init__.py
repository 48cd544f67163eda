"""Scoring a detector on whole scenes, with tables and plots."""

from crater_model.detections import Truth
from crater_model.evaluation.scenes import evaluate
from crater_model.scores import Evaluator

__all__ = ["Evaluator", "Truth", "evaluate"]
