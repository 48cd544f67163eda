"""Data sets for tests: small, not square, with known craters."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from crater_model.annotations.dataset import save_dataset
from crater_model.annotations.scene import Instance, Scene
from crater_model.records.write import write_records
from tests.shared import made_once
from tests.tiny import TINY

# Tests start dozens of processes: what they import is compiled for the first of them only.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A shell has what runs in its background ignore the signal that tests end their processes with.
signal.signal(signal.SIGINT, signal.default_int_handler)

SIZE = (96, 64)  # width, height: never square, so that swapped axes show
# Fixtures that train, start containers or servers, or give real imagery, which is large:
# `make test-fast` leaves out what uses them.
SLOW_FIXTURES = {"address", "blob_model", "blob_server", "cloud", "docker_base", "model_dir",
                 "real_data", "server", "tiny_model", "url"}


def pytest_configure(config) -> None:
    """The folder of `made_once` for all processes of this run, where the user names none."""
    if "CRATER_TEST_CACHE" not in os.environ:
        folder = tempfile.mkdtemp(prefix="crater-tests-")
        os.environ["CRATER_TEST_CACHE"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        config.add_cleanup(lambda: os.environ.pop("CRATER_TEST_CACHE", None))


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by `-m`
def pytest_collection_modifyitems(items) -> None:
    """Marks what uses a slow fixture. The files with the most slow tests come first: shared out
    among processes none is left to the end."""
    for item in items:
        if not SLOW_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker("slow")
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def ellipse(x: float, y: float, rx: float, ry: float, n: int = 24) -> np.ndarray:
    """Outline [n, 2] of an ellipse, px."""
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], axis=1)


def instance(ring: np.ndarray, class_id: int = 1) -> Instance:
    x, y = ring.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    return Instance(1, class_id, (ring,), float(area))


def crater_scene(number: int, size: tuple[int, int], craters: int, rng) -> tuple[Scene, np.ndarray]:
    """A grey image with dark and bright halves in each crater, and its labels."""
    width, height = size
    image = rng.normal(120, 4, (height, width))
    yy, xx = np.mgrid[:height, :width] + 0.5
    instances = []
    for _ in range(craters):
        rx, ry = rng.uniform(3, 9, 2)
        x, y = rng.uniform(rx, width - rx), rng.uniform(ry, height - ry)
        inside = ((xx - x) / rx) ** 2 + ((yy - y) / ry) ** 2 < 1
        image[inside] += (60 * (xx - x) / rx)[inside]
        instances.append(instance(ellipse(x, y, rx, ry)))
    scene = Scene(number, f"scene_{number:03d}.png", width, height, tuple(instances))
    return scene, np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_dataset():
    """make_dataset(folder, craters=(3, 5, 0), size=(96, 64), seed=0, label_map=None):
    writes a data set with one image for each number of craters; gives the folder."""
    def make(folder, craters=(4, 6, 0, 5, 3, 7), size=SIZE, seed=0, label_map=None) -> Path:
        rng = np.random.default_rng(seed)
        images = (crater_scene(number, size, count, rng)
                  for number, count in enumerate(craters, start=1))
        return save_dataset(folder, images, label_map or {1: "crater"})
    return make


@pytest.fixture(scope="session")
def tiny_records(make_dataset) -> Path:
    """Records of eight 96x64 scenes with 33 craters: four to train, two to validate, two to test."""
    def make(folder: Path) -> None:
        make_dataset(folder / "data", craters=(4, 6, 0, 5, 3, 7, 2, 6))
        write_records(folder / "data", folder / "records", splits=(0.5, 0.25, 0.25))
    return made_once("records", make) / "records"


@pytest.fixture(scope="session")
def tiny_model(tiny_records) -> Path:
    """The model directory of four steps of training on `tiny_records`; beside it lies what the
    training returned."""
    return made_once("model", lambda folder: train_in(folder, tiny_records, TINY),
                     key=TINY) / "model"


@pytest.fixture(scope="session")
def tuned_model(tiny_records, tiny_model) -> Path:
    """The same of two steps in bfloat16 that start from `tiny_model` and learn nothing."""
    settings = {
        **TINY, "trainer.train_steps": 2, "runtime.mixed_precision_dtype": "bfloat16",
        "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate": 0.0,
        "task.model.detection_generator.max_num_detections": 20}
    return made_once("tuned", lambda folder: train_in(
        folder, tiny_records, {**settings, "task.init_checkpoint": str(tiny_model)}),
        key=settings) / "model"


def train_in(folder: Path, records: Path, settings: dict) -> None:
    """Trains in `folder`/model and leaves what comes back in `folder`/returned.json."""
    import tf_keras

    from crater_model.training import train

    returned = train(records, folder / "model", "demo", settings)
    assert tf_keras.mixed_precision.global_policy().name == "float32"  # as it was before
    (folder / "returned.json").write_text(json.dumps(returned))


@pytest.fixture
def tiny_dataset(tmp_path, make_dataset) -> Path:
    """A fresh data set of six 96x64 scenes with 25 craters; the third scene has none."""
    return make_dataset(tmp_path / "tiny_dataset")


@pytest.fixture
def crowded_dataset(tmp_path, make_dataset) -> Path:
    """Three 320x256 scenes: one with 600 craters, one with none, one with 12."""
    return make_dataset(tmp_path / "crowded_dataset", craters=(600, 0, 12), size=(320, 256))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real labelled imagery that CRATER_REAL_DATA names."""
    folder = os.environ.get("CRATER_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CRATER_REAL_DATA names no folder with real labelled imagery")
    return Path(folder)


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of files as people have them, with what is right of each in its README.md, that
    CRATER_CASES names."""
    folder = os.environ.get("CRATER_CASES")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CRATER_CASES names no folder with cases")
    return Path(folder)
