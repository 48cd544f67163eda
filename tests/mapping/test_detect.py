"""Detections to files: each form read back, by values; and detection through a server."""

import csv
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as rle

from crater_model.detections import Detections
from crater_model.errors import ConfigError, DataError, ServingError
from crater_model.imagery.raster import ArrayRaster
from crater_model.mapping.craters import Craters
from crater_model.mapping.detect import detect_files
from crater_model.mapping.maps import Map
from crater_model.mapping.write import write_maps
from tests.serving.blobs import blob_image

HEIGHT, WIDTH = 60, 100


@pytest.fixture
def found():
    """A filled box of 20 x 40 px and one of 10 x 10 px of another class."""
    return Detections(
        np.array([[10, 30, 30, 70], [40, 5, 50, 15]], np.float32), np.array([0.9, 0.625], np.float32),
        np.array([1, 2]), np.full((2, 28, 28), 255, np.uint8), (HEIGHT, WIDTH),
        {1: "crater", 2: "rock"})


def write(found, path):
    shapes = np.array([*found.polygons(), None], dtype=object)[:-1]
    craters = Craters(shapes, found.scores, found.classes, np.ones(2, np.float32),
                      np.zeros(2, bool), found.size, found.label_map)
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    return write_maps(path, [Map("a.png", craters, open=lambda: ArrayRaster(image, "a.png"))])


def test_csv(found, tmp_path):
    rows = list(csv.DictReader(write(found, tmp_path / "a.csv").open()))
    assert [row["class"] for row in rows] == ["crater", "rock"]
    assert float(rows[0]["x_px"]) == pytest.approx(50, abs=0.1)
    assert float(rows[0]["y_px"]) == pytest.approx(20, abs=0.1)
    assert float(rows[0]["diameter_px"]) == pytest.approx(2 * np.sqrt(800 / np.pi), rel=0.01)
    assert rows[1]["score"] == "0.625" and rows[1]["image"] == "a.png"


def test_geojson(found, tmp_path):
    features = json.loads(write(found, tmp_path / "a.geojson").read_text())["features"]
    ring = np.array(features[0]["geometry"]["coordinates"][0])
    assert ring.min(axis=0).tolist() == [30, 10] and ring.max(axis=0).tolist() == [70, 30]
    assert features[1]["properties"]["class"] == "rock"


def test_coco_results(found, tmp_path):
    results = json.loads(write(found, tmp_path / "a.json").read_text())
    assert results[0]["bbox"] == [30, 10, 40, 20] and results[1]["category_id"] == 2
    mask = rle.decode(results[0]["segmentation"])
    assert mask.shape == (HEIGHT, WIDTH) and mask[12:28, 32:68].all()
    assert mask.sum() == pytest.approx(800, rel=0.03)


def test_picture(found, tmp_path):
    picture = cv2.imread(str(write(found, tmp_path / "a.png")))
    assert picture.shape == (HEIGHT * 4, WIDTH * 4, 3)
    assert picture[10 * 4, 50 * 4].any() and not picture[20 * 4, 50 * 4].any()


def test_detection_through_a_server(blob_server, tmp_path):
    """A scene larger than the model's input is cut into tiles and put together again."""
    boxes = [(10, 20, 30, 40), (60, 70, 75, 90), (20, 120, 34, 134)]
    cv2.imwrite(str(tmp_path / "scene.png"), blob_image(90, 150, boxes))
    made = detect_files([tmp_path / "scene.png"], tmp_path / "found.csv",
                        server=f"127.0.0.1:{blob_server.grpc_port}")
    assert made["detections"] == 3
    rows = list(csv.DictReader((tmp_path / "found.csv").open()))
    centers = sorted((float(row["x_px"]), float(row["y_px"])) for row in rows)
    expected = sorted(((x0 + x1) / 2, (y0 + y1) / 2) for y0, x0, y1, x1 in boxes)
    np.testing.assert_allclose(centers, expected, atol=0.1)
    with pytest.raises(ServingError, match="unheard"):
        detect_files([tmp_path / "scene.png"], tmp_path / "found.csv",
                     server=f"127.0.0.1:{blob_server.grpc_port}",
                     server_options={"version_label": "unheard"})


def test_wrong_requests_are_one_line(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 9), np.uint8))
    with pytest.raises(ConfigError, match="unknown suffix '.tif', expected one of .gpkg"):
        detect_files([tmp_path / "a.png"], tmp_path / "a.tif", server="127.0.0.1:1")
    with pytest.raises(ConfigError, match="a.png has no georeference, which sizes in km need"):
        detect_files([tmp_path / "a.png"], tmp_path / "a.scc", server="127.0.0.1:1")
    with pytest.raises(ConfigError, match="a picture shows one image, got 2"):
        detect_files([tmp_path / "a.png"] * 2, tmp_path / "o.png", server="127.0.0.1:1")
    with pytest.raises(DataError, match="absent.png"):
        detect_files([tmp_path / "absent.png"], tmp_path / "o.csv", server="127.0.0.1:1")
    with pytest.raises(ConfigError, match="name either a server or a model"):
        detect_files([tmp_path / "a.png"], tmp_path / "o.csv")
