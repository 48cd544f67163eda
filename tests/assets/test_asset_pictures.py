"""Pictures reach the browser through Dagster's own web server."""

import base64
import re

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.webserver import DagsterWebserver
from starlette.applications import Starlette
from starlette.testclient import TestClient

from crater_assets.pictures import picture
from crater_model.pictures.drawing import encode_picture
from tests.cloud import BUCKET, gcs_server


@pytest.fixture(scope="module")
def png():
    import numpy as np

    data = encode_picture(np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8))
    assert b"\r\n" in data  # which text would change
    return data


def served(instance, address):
    """What the web server answers."""
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as workspace:
        routes = DagsterWebserver(workspace).build_routes()
        return TestClient(Starlette(routes=routes)).get(address)


def address_in(shown) -> str:
    # The UI shows Markdown in line below 1,000 characters.
    assert len(shown.value) < 200
    return re.fullmatch(r"!\[rims\]\((/logs/pictures/[0-9a-f]{32}/err)\)", shown.value)[1]


def test_the_web_server_has_it(tmp_path, png):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        address = address_in(picture(instance, png, "rims"))
        assert address_in(picture(instance, png, "rims")) == address  # and it is there once
        assert address_in(picture(instance, png + b"other", "rims")) != address
        answer = served(instance, address)
        assert answer.status_code == 200 and answer.content == png
        # With these a browser would not take it for a picture.
        assert "nosniff" not in answer.headers.values()
        assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.slow
def test_one_in_a_bucket_is_had_by_another_machine(tmp_path, png, monkeypatch):
    def home(name):
        return dg.DagsterInstance.local_temp(str(tmp_path / name), overrides={"compute_logs": {
            "module": "dagster_gcp.gcs.compute_log_manager", "class": "GCSComputeLogManager",
            "config": {"bucket": BUCKET, "prefix": "logs", "local_dir": str(tmp_path / name)}}})

    with gcs_server() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
        for name in ("step", "web"):
            (tmp_path / name).mkdir()
        with home("step") as step, home("web") as web:
            address = address_in(picture(step, png, "rims"))
            assert served(web, address).content == png


def test_without_logs_the_metadata_holds_it(instance, png):
    data = base64.b64encode(png).decode()
    assert picture(instance, png, "rims").value == f"![rims](data:image/png;base64,{data})"


def test_logs_that_cannot_be_written_stop_nothing(tmp_path, png, caplog):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        path = instance.compute_log_manager.get_captured_local_path(["pictures", "x"], "err")
        (folder := tmp_path / path).parent.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.write_text("a file where the folder should be")
        assert picture(instance, png, "rims").value.startswith("![rims](data:image/png;base64,")
    assert "rims: cannot be kept with the logs: " in caplog.text
