"""Images that share ground, and images that go around a body: each crater once."""

import csv
import os
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from crater_model.mapping import detect
from crater_model.mapping.detect import detect_files
from tests.mapping.seeing import sees_black, sees_pits

MOON_M, PX_M = 1737400.0, 100.0
# x, y, diameter in px of the whole ground, 600 x 300 px; the last one is nested in the first.
GROUND = [(200, 100, 90), (420, 150, 40), (300, 60, 24), (330, 220, 30), (80, 240, 20),
          (520, 60, 36)]


@pytest.fixture
def search(monkeypatch):
    """search(stream, images, outputs, tile=256, scales=(1.0,)): what `detect_files` returns."""
    def run(stream, images, outputs, tile=256, scales=(1.0,)):
        @contextmanager
        def model(*_):
            yield stream, {"chip_size": tile, "scales": scales}
        monkeypatch.setattr(detect, "_model", model)
        return detect_files(images, outputs, server="an oracle")
    return run


@pytest.fixture
def strip(tmp_path):
    """strip(left, right, top, bottom, px_m, radius_m): an image of this part of the ground, as a
    file, with px of this size on a sphere of this radius."""
    ground = np.full((300, 600), 130, np.uint8)
    for x, y, diameter in GROUND:
        cv2.circle(ground, (x, y), diameter // 2, 0, -1)

    def write(left, right, top=0, bottom=300, px_m=PX_M, radius_m=MOON_M):
        path = tmp_path / f"{left}-{right}-{top}-{bottom}-{radius_m:.0f}.tif"
        pixels = ground[top:bottom, left:right]
        with rasterio.open(path, "w", driver="GTiff", width=pixels.shape[1],
                           height=pixels.shape[0], count=1, dtype="uint8",
                           crs=f"+proj=eqc +R={radius_m:.0f} +units=m",
                           transform=from_origin(px_m * left, -px_m * top, px_m, px_m)) as target:
            target.write(pixels, 1)
        return path
    return write


def rows(path):
    return list(csv.DictReader(Path(path).open()))


def lon(row):
    """-180..180 deg."""
    return (float(row["LON_CIRC_IMG"]) + 180) % 360 - 180


def area_of(path):
    return float(next(line for line in path.read_text().splitlines() if "Total_area" in line)
                 .split("=")[1].split("<")[0])


def test_each_crater_and_each_piece_of_ground_once(search, strip, tmp_path, capsys):
    """The first image cuts the crater at x = 420, the second one the largest."""
    images = [strip(0, 430), strip(190, 600)]
    made = search(sees_black, images, [tmp_path / "a.csv", tmp_path / "a.scc"])
    assert made["detections"] == len(GROUND)
    assert "4 craters are shown by several images" in capsys.readouterr().err
    found = rows(tmp_path / "a.csv")
    places = sorted((lon(row), float(row["LAT_CIRC_IMG"])) for row in found)
    degree = np.degrees(PX_M / MOON_M)
    np.testing.assert_allclose(places, sorted((x * degree, -y * degree) for x, y, _ in GROUND),
                               atol=1.5 * degree)
    # The one that shows it whole has it.
    assert {(row["image"], row["edge"]) for row in found
            if float(row["diameter_px"]) > 85} == {(str(images[0]), "0")}
    assert not any(int(row["edge"]) for row in found)
    assert area_of(tmp_path / "a.scc") == pytest.approx(60.0 * 30.0, rel=1e-3)


def test_three_images_of_which_one_lies_within_another(search, strip, tmp_path):
    images = [strip(100, 600), strip(250, 500, 20, 260), strip(0, 330)]
    made = search(sees_black, images, [tmp_path / "a.scc", tmp_path / "a.gpkg"])
    assert made["detections"] == len(GROUND)
    assert area_of(tmp_path / "a.scc") == pytest.approx(60.0 * 30.0, rel=1e-3)
    assert sum(line.count("\t1\t") for line in
               (tmp_path / "a.scc").read_text().splitlines() if line[:1].isdigit()) >= len(GROUND)


def test_craters_of_centimetres(search, strip, tmp_path):
    images = [strip(0, 430, px_m=0.01), strip(190, 600, px_m=0.01)]
    assert search(sees_black, images, [tmp_path / "a.csv"])["detections"] == len(GROUND)


def test_bodies_are_told_apart(search, strip, tmp_path):
    """Their craters lie at the same longitudes and latitudes, in images that overlap."""
    images = [strip(*columns, px_m=PX_M * scale, radius_m=MOON_M * scale)
              for scale in (1, 1.95) for columns in ((0, 430), (190, 600))]
    assert search(sees_black, images, [tmp_path / "a.csv"])["detections"] == 2 * len(GROUND)
    counts = Counter(row["image"].rpartition("-")[2] for row in rows(tmp_path / "a.csv"))
    assert list(counts.values()) == [len(GROUND)] * 2


def test_results_of_each_image_stay_whole(search, strip, tmp_path):
    """Whoever scores them compares with the labels of each image."""
    import json

    search(sees_black, [strip(0, 430), strip(190, 600)], [tmp_path / "a.json"])
    results = json.loads((tmp_path / "a.json").read_text())
    assert [sum(row["image_id"] == n for row in results) for n in (1, 2)] == [5, 5]


def test_images_side_by_side_and_of_no_place_stay_as_they_are(search, strip, tmp_path):
    made = search(sees_black, [strip(0, 260), strip(260, 600)], [tmp_path / "a.csv"])
    assert made["detections"] == len(GROUND)
    plain = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in plain:
        pixels = np.full((90, 150), 130, np.uint8)
        cv2.circle(pixels, (70, 40), 15, 0, -1)
        cv2.imwrite(str(path), pixels)
    assert search(sees_black, plain, [tmp_path / "b.csv"])["detections"] == 2


@pytest.mark.parametrize("first", [-180.0, 0.0, 73.5])
def test_a_crater_on_the_seam_of_a_whole_body_is_one(search, tmp_path, first):
    """Three on the seam, of which one only just; whatever longitude the image begins with."""
    pixels = np.full((360, 720), 130, np.uint8)
    circles = [(0, 200, 41), (712, 90, 30), (8, 280, 20), (360, 180, 50), (100, 100, 24)]
    for x, y, diameter in circles:
        for turned in (x - 720, x, x + 720):
            cv2.circle(pixels, (turned, y), diameter // 2, 0, -1)
    with rasterio.open(tmp_path / "globe.tif", "w", driver="GTiff", width=720, height=360, count=1,
                       dtype="uint8", crs=f"+proj=longlat +R={MOON_M:.0f}",
                       transform=from_origin(first, 90, 0.5, 0.5)) as target:
        target.write(pixels, 1)
    made = search(sees_black, [tmp_path / "globe.tif"],
                  [tmp_path / "a.csv", tmp_path / "a.gpkg", tmp_path / "a.scc"], tile=128)
    assert made["detections"] == len(circles)
    found = rows(tmp_path / "a.csv")
    assert not any(int(row["edge"]) for row in found)
    places = sorted((lon(row), float(row["LAT_CIRC_IMG"])) for row in found)
    expected = sorted(((first + x / 2 + 180) % 360 - 180, 90 - y / 2) for x, y, _ in circles)
    np.testing.assert_allclose(places, expected, atol=0.6)
    assert all(0 <= float(row["x_px"]) < 720 for row in found)
    assert area_of(tmp_path / "a.scc") == pytest.approx(4 * np.pi * (MOON_M / 1000)**2, rel=1e-3)


@pytest.mark.skipif("CRATER_CASES" not in os.environ, reason="CRATER_CASES is not set")
def test_the_cases(search, tmp_path):
    cases = Path(os.environ["CRATER_CASES"])
    made = search(sees_pits, sorted((cases / "overlap").glob("ov?.tif")), [tmp_path / "a.scc"])
    assert made["detections"] == 22
    assert area_of(tmp_path / "a.scc") == pytest.approx(5896, rel=2e-3)
    search(sees_pits, [cases / "seam" / "global.tif"], [tmp_path / "b.csv"])
    seam = [row for row in rows(tmp_path / "b.csv") if abs(lon(row)) > 175]
    assert [int(row["edge"]) for row in seam] == [0]
    assert float(seam[0]["DIAM_CIRC_IMG"]) == pytest.approx(300, rel=0.1)
