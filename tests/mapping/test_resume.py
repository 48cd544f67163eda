"""`detect_files` that does not come to its end: the same call goes on, another one is refused."""

import csv
import os
import shutil
from contextlib import nullcontext

import cv2
import pytest

from crater_model.errors import ConfigError, CraterError, ServingError
from crater_model.mapping import detect
from tests.serving.blobs import blob_image

BOXES = [(10, 20, 30, 40), (60, 70, 75, 90), (20, 120, 34, 134)]


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.png"
    cv2.imwrite(str(path), blob_image(90, 150, BOXES))
    return path


def test_the_same_call_goes_on(blob_server, scene, tmp_path, monkeypatch):
    output, server = tmp_path / "found.csv", f"127.0.0.1:{blob_server.grpc_port}"

    def full(*_, **__):
        raise CraterError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(detect, "write_maps", full)
        with pytest.raises(CraterError, match="full"):
            detect.detect_files([scene], output, server=server)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.csv.partial", "scene.png"]
    with pytest.raises(ConfigError, match="found.csv.partial.*begun with scales .* now it is"):
        detect.detect_files([scene], output, server=server, scales=[2.0])
    # Another threshold asks for nothing that is not known already.
    made = detect.detect_files([scene], output, server=server, threshold=0.4)
    assert made["detections"] == len(list(csv.DictReader(output.open()))) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.csv", "scene.png"]


def test_an_image_that_has_changed_is_refused(blob_server, scene, tmp_path, monkeypatch):
    server = f"127.0.0.1:{blob_server.grpc_port}"
    def full(*_, **__):
        raise CraterError("the disk is full")

    monkeypatch.setattr(detect, "write_maps", full)
    with pytest.raises(CraterError, match="full"):
        detect.detect_files([scene], tmp_path / "a.csv", server=server)
    os.utime(scene, (1, 1))
    changed = "a.csv.partial.*image .*'modified_ns': 1000000000.*delete"
    with pytest.raises(ConfigError, match=changed):
        detect.detect_files([scene], tmp_path / "a.csv", server=server)


def test_a_copy_of_the_model_goes_on_and_another_model_is_refused(blob_model, scene, tmp_path,
                                                                  monkeypatch):
    """As on another machine, where a bucket's model was fetched anew."""
    def full(*_, **__):
        raise CraterError("the disk is full")

    output, copy = tmp_path / "a.csv", tmp_path / "elsewhere" / "3"
    with monkeypatch.context() as patch:
        patch.setattr(detect, "write_maps", full)
        with pytest.raises(CraterError, match="full"):
            detect.detect_files([scene], output, model=blob_model / "3")
    shutil.copytree(blob_model / "3", copy, copy_function=shutil.copyfile)  # with new times
    card = next(copy.rglob("model_card.json"))
    kept = card.read_text()
    card.write_text(kept + " ")
    with pytest.raises(ConfigError, match="a.csv.partial.*begun with model"):
        detect.detect_files([scene], output, model=copy)
    card.write_text(kept)
    assert detect.detect_files([scene], output, model=copy)["detections"] == 3


def test_nothing_is_left_where_nothing_was_found(scene, tmp_path, monkeypatch):
    def gone(images):
        next(iter(images))
        raise ServingError("the server is gone")
        yield

    monkeypatch.setattr(detect, "_model", lambda *_: nullcontext(
        (gone, {"chip_size": 64, "scales": [1.0]})))
    with pytest.raises(ServingError, match="gone"):
        detect.detect_files([scene], tmp_path / "a.csv", server="127.0.0.1:1")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.png"]
