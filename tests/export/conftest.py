"""A detector trained for two steps in bfloat16, and its export."""

import pytest

from crater_model.export import export_saved_model
from crater_model.records.write import write_records
from crater_model.training import train
from tests.tiny import TINY


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory, make_dataset):
    folder = tmp_path_factory.mktemp("export")
    make_dataset(folder / "data", craters=(4, 6, 0, 5))
    write_records(folder / "data", folder / "records", splits=(0.5, 0.25, 0.25))
    train(folder / "records", folder / "model", "demo", {
        **TINY, "trainer.train_steps": 2, "runtime.mixed_precision_dtype": "bfloat16",
        "task.model.detection_generator.max_num_detections": 20})
    return folder / "model"


@pytest.fixture(scope="session")
def saved_model(model_dir, tmp_path_factory):
    return export_saved_model(model_dir, tmp_path_factory.mktemp("saved"), 7,
                              metrics={"test": {"mask_AP": 0.5}})
