"""Images mapped as partitions, by a server and in the step, on a model whose answers are known."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import dagster as dg
import grpc
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from crater_assets.assets.crater_map import crater_map_asset
from crater_assets.checks import STORAGE_CHECK, storage_check
from crater_assets.history import last_materialization
from crater_assets.resources import Crater
from tests.serving.blobs import blob_image
from tests.serving.conftest import blob_model, blob_server, certificate  # noqa: F401 (fixtures)
from tests.serving.strict_server import StrictServer, TokenAsked

ROOT = Path(__file__).resolve().parents[2]
BOXES = [(10, 20, 30, 40), (60, 70, 75, 85), (20, 120, 34, 134)]  # y0, x0, y1, x1 in px
M_PER_PX = 100.0


@pytest.fixture
def images(tmp_path) -> dict[str, Path]:
    """A picture without a place, and the same as a map of the Moon near its equator."""
    pixels = blob_image(90, 150, BOXES)
    folder = tmp_path / "images"
    folder.mkdir()
    cv2.imwrite(str(folder / "plain.png"), pixels)
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    with rasterio.open(folder / "moon.tif", "w", driver="GTiff", width=150, height=90, count=1,
                       dtype="uint8", crs="+proj=eqc +R=1737400 +units=m",
                       transform=from_origin(0, 0, M_PER_PX, M_PER_PX)) as target:
        target.write(grey, 1)
    return {"plain": folder / "plain.png", "moon": folder / "moon.tif"}


@pytest.fixture
def map_one(instance, images, tmp_path):
    """map_one(partition, server="", shown={}, **config): the run, with what is checked after it;
    `shown` is what the resource has of certificates and tokens."""
    def run(partition, server="", shown={}, **config):  # noqa: B006
        crater = Crater(storage=str(tmp_path / "storage"), server=server, **shown)
        asset = crater_map_asset(images, server)
        check = storage_check("crater_map", asset.partitions_def)
        return dg.materialize([asset, check, dg.AssetSpec("serving_image")], instance=instance,
                              resources={"crater": crater}, partition_key=partition,
                              selection=dg.AssetSelection.assets("crater_map"),
                              run_config={"ops": {"crater_map": {"config": config}}},
                              raise_on_error=False)
    return run


@pytest.fixture
def in_service(instance, tmp_path, blob_model):  # noqa: F811
    """The model as what the last serving image holds."""
    storage = Crater(storage=str(tmp_path / "storage")).open_storage()
    version = next(path for path in sorted(blob_model.rglob("saved_model.pb"))).parent
    shutil.copytree(version, storage.path("best_model/known") / "saved_model" / "7")
    storage.publish("best_model/known")
    instance.report_runless_asset_event(dg.AssetMaterialization(
        "serving_image", metadata={"artifact": "serving_image/known", "best_model": "best_model/known",
                                   "version": 7}))


def made_of(instance, partition):
    return last_materialization(instance, "crater_map", partition)


def test_a_map_from_a_server(instance, map_one, blob_server, tmp_path):  # noqa: F811
    result = map_one("moon", server=f"127.0.0.1:{blob_server.grpc_port}",
                     outputs=[".csv", ".gpkg", ".html", ".scc"])
    assert result.success
    made = made_of(instance, "moon")
    said = made.metadata
    assert said["craters"] == 3 and said["width_px"] == 150 and said["height_px"] == 90
    assert said["searched_km2"] == pytest.approx(15.0 * 9.0, rel=2e-3)
    sizes = [2 * np.sqrt((y1 - y0) * (x1 - x0) / np.pi) * M_PER_PX / 1000
             for y0, x0, y1, x1 in BOXES]
    assert said["diameter_km_max"] == pytest.approx(max(sizes), rel=0.01)
    assert said["diameter_km_min"] == pytest.approx(min(sizes), rel=0.01)
    assert said["body"] == "Moon" and said["reused"] is False and said["model_card"]
    assert said["overlay"].startswith("![") and said["sizes"].startswith("![")
    folder = tmp_path / "storage" / made.artifact
    assert {row["path"] for row in json.loads((folder / "artifact.json").read_text())["files"]} == {
        "moon.csv", "moon.gpkg", "moon.html", "moon.scc", "overlay.png", "sizes.png",
        "summary.json"}
    assert len(list(csv.DictReader((folder / "moon.csv").open()))) == 3
    checks = {found.check_name: found for found in result.get_asset_check_evaluations()}
    assert checks[STORAGE_CHECK].passed


def test_a_map_by_the_version_behind_a_label(instance, map_one, blob_model):  # noqa: F811
    """A newer one is there; the version's number is noted, and it alone is asked."""
    versions = {number: blob_model / str(number) for number in (3, 12)}
    with StrictServer(versions, labels={"stable": 3}) as server:
        assert map_one("plain", server=server.endpoint, version_label="stable",
                       outputs=[".csv"]).success
        assert {version for version, _ in server.asked} == {3}
        assert made_of(instance, "plain").metadata["version"] == 3
        assert map_one("plain", server=server.endpoint, outputs=[".csv"]).success
        assert made_of(instance, "plain").metadata["version"] == 12


def test_a_map_by_a_server_that_asks_who_is_there(instance, map_one, tmp_path, monkeypatch,
                                                  blob_model, certificate):  # noqa: F811
    """Its certificate is trusted by nobody but us, and it wants ours and a token."""
    pem = [file.read_bytes() for file in certificate]
    mutual = grpc.ssl_server_credentials([(pem[1], pem[0])], pem[0], True)
    (tmp_path / "token").write_text("open sesame\n")
    for name, file in {"CA": certificate[0], "CERTIFICATE": certificate[0], "KEY": certificate[1],
                       "TOKEN_FILE": tmp_path / "token"}.items():
        monkeypatch.setenv(f"CRATER_SERVER_{name}", str(file))
    read = Crater.from_environment().model_dump()
    shown = {name: value for name, value in read.items() if name.startswith("server_") and value}
    assert set(shown) == {"server_ca", "server_certificate", "server_key", "server_token_file"}
    with StrictServer({3: blob_model / "3"}, credentials=mutual,
                      interceptors=[TokenAsked("open sesame")]) as server:
        assert not map_one("plain", server=server.endpoint, outputs=[".csv"]).success
        assert map_one("plain", server=server.endpoint, shown=shown, outputs=[".csv"]).success
    assert made_of(instance, "plain").metadata["craters"] == 3


def test_a_map_by_the_model_of_the_serving_image(instance, map_one, in_service, tmp_path):
    assert map_one("plain", outputs=[".csv"]).success
    made = made_of(instance, "plain")
    assert made.metadata["best_model"] == "best_model/known" and made.metadata["version"] == 7
    rows = list(csv.DictReader((tmp_path / "storage" / made.artifact / "plain.csv").open()))
    centres = sorted((float(row["x_px"]), float(row["y_px"])) for row in rows)
    truth = sorted(((x0 + x1) / 2, (y0 + y1) / 2) for y0, x0, y1, x1 in BOXES)
    np.testing.assert_allclose(centres, truth, atol=0.5)
    assert "diameter_px_median" in made.metadata and "sizes" not in made.metadata

    assert map_one("plain", outputs=[".csv"]).success
    again = made_of(instance, "plain")
    assert again.metadata == {**made.metadata, "reused": True}
    assert map_one("plain", outputs=[".csv"], threshold=0.99).success
    assert made_of(instance, "plain").artifact != made.artifact


@pytest.mark.parametrize("config, words", [
    ({"outputs": [".scc"]}, "plain.scc: .* has no georeference"),
    ({"outputs": [".shp"]}, "unknown suffix '.shp'"),
    ({"catalogue": "gone.csv"}, "gone.csv"),
    ({}, "serving_image has not been materialized")])
def test_what_fails_says_why_before_it_searches(instance, map_one, request, config, words):
    if config:
        request.getfixturevalue("in_service")
    result = map_one("plain", **config)
    assert not result.success and made_of(instance, "plain") is None
    event = next(e for e in result.all_node_events if e.is_step_failure)
    failure = event.event_specific_data.user_failure_data
    assert failure and "\n" not in failure.description
    assert re.search(words, failure.description)


@pytest.mark.slow
def test_it_is_there_where_images_are_named(images, tmp_path):
    code = ("from crater_assets.definitions import defs; import dagster as dg; "
            "graph = defs.resolve_asset_graph(); node = graph.get(dg.AssetKey('crater_map')); "
            "print(sorted(k.to_user_string() for k in node.parent_keys), node.pools, "
            "node.partitions_def.get_partition_keys(), dg.AssetKey('crater_map') in "
            "defs.resolve_job_def('crater_pipeline').asset_layer.selected_asset_keys)")

    def loaded(**variables):
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, check=True,
                              capture_output=True, env={
                                  **os.environ, "PYTHONPATH": str(ROOT),
                                  "CRATER_MAP_IMAGES": "images", **variables}).stdout.strip()

    assert loaded() == "['serving_image'] {'gpu'} ['moon', 'plain'] False"
    assert " set() " in loaded(CRATER_SERVER="localhost:8500")
