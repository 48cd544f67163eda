"""Scores: COCO's average precision and the crater measures, on chips and whole scenes."""

from crater_model.evaluation.evaluator import Evaluator
from crater_model.evaluation.scenes import evaluate
from crater_model.evaluation.truth import Truth

__all__ = ["Evaluator", "Truth", "evaluate"]
