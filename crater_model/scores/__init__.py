"""Scores over a set of images: COCO's average precision and the crater measures."""

from crater_model.scores.evaluator import Evaluator

__all__ = ["Evaluator"]
