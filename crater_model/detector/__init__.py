"""The crater detector: experiment, Keras model, inputs, task, and its typed use."""

from crater_model.detector.experiment import (  # noqa: F401
    PRESETS,
    Experiment,
    chip_size,
    fit_to_records,
    load_experiment,
)
