"""The chain as Dagster assets: labelled images, records, checkpoints, the best model, its image.

Each asset calls one function of `crater_model`. Nothing here imports TensorFlow when the
code location loads: what needs it is imported inside the asset that runs.
"""

import warnings

from dagster import PreviewWarning

# Partitioned checks carry it; it would greet every command.
warnings.filterwarnings("ignore", category=PreviewWarning)
