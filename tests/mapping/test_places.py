"""Images whose place is hidden, missing or of no body: mapped in km, or in px with a word."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import rasterio

from crater_model.errors import ConfigError
from crater_model.mapping.detect import check_outputs, detect_files
from tests.imagery.ranges import archive
from tests.imagery.test_raster import tiff
from tests.mapping.seeing import knows, mapped
from tests.serving.blobs import blob_image

BOXES = [(10, 20, 30, 40), (60, 70, 75, 90), (20, 120, 34, 134)]
MOON = "+proj=eqc +R=1737400 +units=m"
PLACE = rasterio.Affine(100, 0, 30000, 0, -100, 60000)


@pytest.mark.parametrize("more, lacks", [
    ({}, "has no georeference"),
    ({"transform": PLACE}, "has a transform but no coordinate system"),
    ({"crs": MOON}, "has a coordinate system but no transform"),
    ({"transform": PLACE, "crs": 'LOCAL_CS["site",UNIT["metre",1]]'},
     "is in the engineering system 'site', of no body")])
def test_km_are_refused_before_the_search_and_px_said(tmp_path, blob_server, capsys, more, lacks):
    path = tiff(tmp_path / "a.tif", blob_image(90, 150, BOXES), **more)
    for suffix in (".scc", ".diam"):
        with pytest.raises(ConfigError, match=f"a{suffix}: .*a.tif {lacks}, which sizes in km"):
            detect_files([path], tmp_path / f"a{suffix}", server="127.0.0.1:1")  # nobody is there
    found = detect_files([path], [tmp_path / "a.geojson", tmp_path / "a.csv"],
                         server=f"127.0.0.1:{blob_server.grpc_port}")
    assert found["detections"] == 3
    said = [line for line in capsys.readouterr().err.splitlines() if "a.tif:" in line]
    assert f"{path}: {lacks}; it is searched in px" in said
    assert json.loads((tmp_path / "a.geojson").read_text())["coordinates"].startswith("px")


def test_several_bodies_are_refused_before_the_search(tmp_path):
    moon = tiff(tmp_path / "moon.tif", blob_image(90, 150, BOXES), crs=MOON, transform=PLACE)
    rock = tiff(tmp_path / "rock.tif", blob_image(90, 150, BOXES), crs="+proj=eqc +R=245 +units=m",
                transform=rasterio.Affine(0.1, 0, 0, 0, -0.1, 0))
    plain = tiff(tmp_path / "plain.tif", blob_image(90, 150, BOXES))
    for other, text in ((rock, "radius 0.245 km"), (plain, "no known place")):
        with pytest.raises(ConfigError, match=f"moon.tif shows Moon .* and .*{text}.*; write a file"):
            detect_files([moon, other], tmp_path / "a.gpkg", server="127.0.0.1:1")
    check_outputs([tmp_path / "a.csv"], [moon, rock, plain])  # each in what it has


def test_a_picture_with_a_world_file_is_mapped_in_km(tmp_path, blob_server, capsys):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), blob_image(90, 150, BOXES))
    path.with_suffix(".pgw").write_text("100\n0\n0\n-100\n30050\n59950\n")
    (tmp_path / "a.png.aux.xml").write_text(f"<PAMDataset><SRS>{MOON}</SRS></PAMDataset>")
    detect_files([path], [tmp_path / "a.geojson", tmp_path / "a.scc"],
                 server=f"127.0.0.1:{blob_server.grpc_port}")
    made = json.loads((tmp_path / "a.geojson").read_text())
    assert made["body"] == "Moon" and "searched in px" not in capsys.readouterr().err
    sizes = sorted(f["properties"]["diameter_km"] for f in made["features"])
    assert sizes == pytest.approx(
        [2 * np.sqrt(h * w / np.pi) / 10 for h, w in ((14, 14), (15, 20), (20, 20))], rel=0.02)


def test_an_image_behind_an_address_is_mapped(tmp_path, blob_server):
    tiff(tmp_path / "a.tif", blob_image(90, 150, BOXES), crs=MOON, transform=PLACE)
    with archive(tmp_path) as url:
        found = detect_files([f"{url}/a.tif"], [tmp_path / "a.gpkg", tmp_path / "a.png"],
                             server=f"127.0.0.1:{blob_server.grpc_port}")
    assert found["detections"] == 3 and cv2.imread(str(tmp_path / "a.png")) is not None


@pytest.mark.parametrize("name", [
    "place/wld.png", "place/gcp.tif", "place/mosaic.vrt", "place/iproj.cub",
    "special_values/f32_9999_undeclared.tif", "special_values/i16.tif"])
def test_the_cases_of_known_craters(cases, name):
    """All 22, but those whose middle lies where the last three have no ground."""
    truth = json.loads((cases / "place" / "moon_eqc.truth.json").read_text())
    circles = np.array(truth["px"])
    with rasterio.open(cases / name) as file:
        values = file.read(1)
    there = values > -9999 if "special" in name else values > 0
    seen = there[circles[:, 1].astype(int), circles[:, 0].astype(int)]
    found = mapped(cases / name, knows(circles))
    assert len(found.craters) == seen.sum() and seen.sum() >= (22 if there.all() else 18)
    assert found.ground.km2 == pytest.approx(
        there.mean() * 76.8**2 * np.cos(np.radians(15.2)), rel=2e-2)
    order = np.argsort(found.table["x_px"]), np.argsort(circles[seen, 0])
    measured, wanted = found.table.iloc[order[0]], np.array(truth["craters"])[seen][order[1]]
    whole = ~measured["edge"].to_numpy()
    assert whole.sum() >= 15
    for column, values in zip(("lon_deg", "lat_deg"), wanted.T):
        assert np.abs(measured[column].to_numpy() - values)[whole].max() < 2e-3, column
