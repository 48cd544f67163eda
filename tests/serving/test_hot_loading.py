"""Versions that come and go while clients ask."""

import os
import shutil
import threading

import pytest

from crater_model.errors import ServingError
from crater_model.serving.models import NEWEST, Model, State
from crater_model.serving.server import Server
from crater_model.serving.versions import Policy
from tests.serving.blobs import blob_image
from tests.serving.raw_client import RawClient, png

IMAGE = png(blob_image(20, 30, [(2, 3, 8, 9), (4, 12, 6, 20)]))
BOXES = [[[2, 3, 8, 9], [4, 12, 6, 20]]]


def put(blob_model, folder, version):
    """A new version that appears whole, by a rename."""
    beside = folder / f".copy-{version}"
    shutil.copytree(blob_model / "3", beside)
    os.rename(beside, folder / str(version))


def available(model):
    return [number for number, state, _ in model.states() if state == State.AVAILABLE]


def test_a_new_version_takes_over_under_load_and_no_request_fails(blob_model, tmp_path, until):
    put(blob_model, tmp_path, 1)
    seen, failures, stop = [], [], threading.Event()

    def ask(port):
        with RawClient(port) as client:
            while not stop.is_set():
                try:
                    version, outputs = client.predict([IMAGE], version_label="stable")
                    assert outputs["detection_boxes"].tolist() == BOXES
                    seen.append(version)
                except Exception as error:
                    failures.append(error)

    with Server.of(tmp_path, grpc_port=0, rest_port=None, poll_s=0.1) as server:
        threads = [threading.Thread(target=ask, args=(server.grpc_port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            with RawClient(server.grpc_port) as client:
                for version in (2, 10):
                    until(lambda: version == 10 or len(seen) > 20)
                    put(blob_model, tmp_path, version)
                    until(lambda: client.states().get(version, "?")[0] == "AVAILABLE")
                    until(lambda: seen[-1] == version)
                until(lambda: client.states() == {10: ("AVAILABLE", ""), 2: ("END", ""),
                                                  1: ("END", "")})
                assert client.refused([IMAGE], version=1)[0] == "NOT_FOUND"
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert not failures and {1, 2, 10} == set(seen)


def test_a_version_that_fails_is_reported_and_the_one_before_goes_on(blob_model, tmp_path):
    put(blob_model, tmp_path, 1)
    model = Model("crater", tmp_path, labels={"stable": NEWEST})
    model.load()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "variables").mkdir()
    model.update()
    assert [n for n, *_ in model.states()] == [1]  # no saved_model.pb: still being copied
    shutil.copy(blob_model / "3" / "saved_model.pb", tmp_path / "2")  # half of it
    model.update()
    assert available(model) == [1] and model.states(2)[0][1] == State.END
    assert "cannot be loaded" in model.states(2)[0][2]
    assert model.number(None, "stable") == 1
    shutil.copytree(blob_model / "3", tmp_path / "2", dirs_exist_ok=True)  # the other half
    model.update()
    assert available(model) == [2] and model.number(None, "stable") == 2


def test_a_version_in_use_is_unloaded_after_its_last_request(blob_model, tmp_path):
    put(blob_model, tmp_path, 1)
    model = Model("crater", tmp_path)
    model.load()
    with model.lease() as old:
        put(blob_model, tmp_path, 2)
        model.update()
        assert model.states(1)[0][1] == State.UNLOADING
        with model.lease() as new:
            assert (old.version, new.version) == (1, 2)
        assert old.predict({"image_bytes": [IMAGE]})["detection_boxes"].tolist() == BOXES
    assert model.states(1)[0][1] == State.END


def test_vanished_versions_and_labelled_ones(blob_model, tmp_path):
    for version in (1, 2):
        put(blob_model, tmp_path, version)
    (tmp_path / "notes").mkdir()
    model = Model("crater", tmp_path, Policy(2), {"canary": 1})
    model.load()
    put(blob_model, tmp_path, 3)
    put(blob_model, tmp_path, 4)
    model.update()
    assert available(model) == [4, 3, 1]  # the newest two and the labelled one
    for version in (4, 1):
        shutil.rmtree(tmp_path / str(version))
    model.update()
    assert available(model) == [3, 2]
    for version in (2, 3):
        shutil.rmtree(tmp_path / str(version))
    model.update()
    assert available(model) == [3, 2]  # nothing to take their place
    assert [n for n, *_ in model.states()] == [3, 2]  # what is gone for good is forgotten


def test_at_the_start_an_older_version_stands_in_for_a_broken_one(blob_model, tmp_path):
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(ServingError, match="2: this SavedModel cannot be loaded"):
        Model("crater", tmp_path).load()
    put(blob_model, tmp_path, 1)
    model = Model("crater", tmp_path)
    model.load()
    assert [(n, s) for n, s, _ in model.states()] == [(2, State.END), (1, State.AVAILABLE)]
