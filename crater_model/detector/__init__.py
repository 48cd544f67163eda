"""The crater detector: experiment, Keras model, inputs, task, and its typed use."""

from crater_model.detector.detector import Detector
from crater_model.detector.experiment import Experiment, chip_size, fit_to_records, load_experiment
from crater_model.detector.model import build_model

__all__ = ["Detector", "Experiment", "build_model", "chip_size", "fit_to_records",
           "load_experiment"]
