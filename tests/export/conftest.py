"""A detector trained for two steps in bfloat16, and its export."""

import pytest

from crater_model.export import export_saved_model
from crater_model.training import train
from tests.shared import made_once
from tests.tiny import TINY

SETTINGS = {**TINY, "trainer.train_steps": 2, "runtime.mixed_precision_dtype": "bfloat16",
            "task.model.detection_generator.max_num_detections": 20}


@pytest.fixture(scope="session")
def model_dir(tiny_records):
    return made_once(
        "bfloat16", lambda folder: train(tiny_records, folder, "demo", SETTINGS), key=SETTINGS)


@pytest.fixture(scope="session")
def saved_model(model_dir):
    metrics = {"test": {"mask_AP": 0.5}}
    return made_once("saved", lambda folder: export_saved_model(
        model_dir, folder, 7, metrics=metrics), key=[SETTINGS, metrics]) / "7"
