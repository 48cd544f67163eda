"""A detector trained for two steps in bfloat16, and its export."""

import pytest

from crater_model.export import export_saved_model
from tests.shared import made_once


@pytest.fixture(scope="session")
def model_dir(tuned_model):
    return tuned_model


@pytest.fixture(scope="session")
def saved_model(model_dir):
    metrics = {"test": {"mask_AP": 0.5}}
    return made_once("saved", lambda folder: export_saved_model(
        model_dir, folder, 7, metrics=metrics), key=metrics) / "7"
