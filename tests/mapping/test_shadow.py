"""Shadows and dead pixels, which files declare to be no data, are ground."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import shapely

from crater_model.mapping.write import write_maps
from tests.mapping.seeing import knows, mapped, sees_black

WIDTH, HEIGHT = 420, 360
PLACE = {"crs": "+proj=eqc +R=1737400 +units=m",
         "transform": rasterio.Affine(100, 0, 4000, 0, -100, 9000)}
# x, y, radius px of shadows, the last cut by the image's right edge.
SHADOWS = ((60, 70, 12), (200, 150, 30), (330, 280, 19), (90, 290, 7), (417, 100, 11))


def ground(shadows=SHADOWS) -> np.ndarray:
    """uint8 [360, 420]: bright, with black discs."""
    pixels = np.random.default_rng(3).integers(90, 160, (HEIGHT, WIDTH), np.uint8)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for at_x, at_y, r in shadows:
        pixels[(x - at_x)**2 + (y - at_y)**2 < r * r] = 0
    return pixels


def save(path, pixels, **more):
    with rasterio.open(path, "w", driver="GTiff", dtype=pixels.dtype, count=1, width=WIDTH,
                       height=HEIGHT, **PLACE, **more) as out:
        out.write(pixels[None])
    return path


def test_black_shadows_are_found_as_if_nothing_were_declared(tmp_path):
    plain = mapped(save(tmp_path / "plain.tif", ground()), sees_black)
    declared = mapped(save(tmp_path / "nodata.tif", ground(), nodata=0), sees_black)
    assert len(plain.craters) == len(SHADOWS) and declared.area is None
    for column in ("x_px", "y_px", "diameter_km", "edge"):
        assert plain.table[column].tolist() == declared.table[column].tolist(), column
    assert sorted(plain.table["edge"]) == [False] * 4 + [True]
    assert plain.ground.km2 == declared.ground.km2


def test_missing_ground_is_still_left_out(tmp_path):
    pixels = ground()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels[x + 2 * y < 260] = 0  # a corner, which takes the first shadow with it
    pixels[200:260, 40:120] = 0  # a missing tile
    found = mapped(save(tmp_path / "a.tif", pixels, nodata=0), sees_black)
    lost = ((x + 2 * y < 260).sum() + 60 * 80) / (WIDTH * HEIGHT)
    whole = mapped(save(tmp_path / "b.tif", ground()), sees_black)
    assert found.ground.km2 == pytest.approx(whole.ground.km2 * (1 - lost), rel=1e-3)
    assert not found.contains(np.array([[50.0, 50.0], [80.0, 230.0]])).any()
    assert found.contains(np.array([[200.0, 150.0], [330.0, 280.0]])).all()
    # What ends where ground is missing is cut.
    circles = [(200, 150, 60), (125, 230, 30), (135, 66, 24)]
    cut = mapped(tmp_path / "a.tif", knows(np.array(circles)))
    by_x = cut.table.sort_values("x_px", ascending=False)
    assert by_x["edge"].tolist()[0] is False and by_x["edge"].sum() >= 1


@pytest.mark.parametrize("share", [0.001, 0.01, 0.02])
def test_dead_pixels_cut_nothing(tmp_path, share):
    pixels = ground(())
    pixels[np.random.default_rng(5).random(pixels.shape) < share] = 0
    circles = np.array([(x, y, 36) for x in range(30, 400, 45) for y in range(30, 340, 45)])
    found = mapped(save(tmp_path / "a.tif", pixels, nodata=0), knows(circles))
    assert len(found.craters) == len(circles) and not found.table["edge"].any()
    assert found.area is None
    assert write_maps(tmp_path / "a.scc", [found]).stat().st_size < 100_000
    # The network is shown what is around them.
    shown = []
    mapped(tmp_path / "a.tif", lambda images: (shown.append(i) or f for i in images
                                               for f in knows(circles)([i])))
    assert (shown[0] == 0).mean() < share / 100


def test_many_gaps_cost_little(tmp_path):
    """Five hundred missing tiles: the outline is simplified, the area is not."""
    pixels = ground(())
    for y in range(10, HEIGHT - 12, 14):
        for x in range(10, WIDTH - 16, 18):
            pixels[y:y + 9, x:x + 14] = 0
    found = mapped(save(tmp_path / "a.tif", pixels, nodata=0), sees_black)
    assert found.area_px == WIDTH * HEIGHT - 25 * 22 * 9 * 14
    assert shapely.get_num_coordinates(found.area) < 2000
    assert write_maps(tmp_path / "a.scc", [found]).stat().st_size < 500_000
    assert found.ground.km2 == pytest.approx(found.area_px * 0.01, rel=1e-3)


def test_the_cases_of_shadow(cases):
    truth = json.loads((cases / "shadow" / "shadow_nd.truth.json").read_text())
    stream = knows(np.array(truth["px"]))
    plain = mapped(cases / "shadow" / "shadow_plain.tif", stream)
    blobs = mapped(cases / "shadow" / "shadow_plain.tif", sees_black)
    for name in ("shadow_nd.tif", "shadow.lbl", "shadow.img"):
        found = mapped(cases / "shadow" / name, stream)
        assert found.area is None and len(found.craters) == len(plain.craters) > 30
        assert found.table["edge"].tolist() == plain.table["edge"].tolist()
        again = mapped(cases / "shadow" / name, sees_black)
        assert len(again.craters) == len(blobs.craters) >= 15
        assert again.table["diameter_px"].tolist() == pytest.approx(
            blobs.table["diameter_px"].tolist(), rel=0.01)
        assert not again.table["edge"].any()


@pytest.mark.parametrize("name, side", [("noise_256_0.001", 256), ("noise_512_0.01", 512)])
def test_the_cases_of_dead_pixels(cases, tmp_path, name, side):
    circles = np.array([(x, y, 40) for x in range(30, side - 25, 50)
                        for y in range(30, side - 25, 50)])
    found = mapped(cases / "dead_pixels" / f"{name}.tif", knows(circles))
    assert found.area is None and not found.table["edge"].any()
    assert write_maps(tmp_path / "a.scc", [found]).stat().st_size < 100_000
    whole = side * side * 0.01
    assert found.ground.km2 == pytest.approx(whole, rel=1e-3)
