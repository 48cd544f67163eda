"""Which pixels without data are missing ground."""

from __future__ import annotations

import numpy as np
import pytest

from crater_model.imagery import missing
from crater_model.imagery.missing import find_missing, without_specks

H, W = 300, 420
Y, X = np.mgrid[:H, :W] + 0.5


def lost(empty: np.ndarray, strip: int = 64) -> np.ndarray:
    """Which pixels of an image are missing ground, found in strips, asked in windows."""
    found = find_missing(W, H, ((top, empty[top:top + strip]) for top in range(0, H, strip)))
    out = np.zeros_like(empty)
    for top in range(0, H, 70):
        for left in range(0, W, 90):
            there = slice(top, top + 70), slice(left, left + 90)
            out[there] = found.at(empty[there], left, top)
    assert found.pixels == out.sum()
    return out


def disc(x, y, r):
    return (X - x)**2 + (Y - y)**2 < r * r


GROUND = {  # shadow, dead pixels and lines
    "disc": disc(200, 150, 60), "small disc": disc(80, 80, 5),
    "crescent": disc(200, 150, 80) & ~disc(225, 150, 80),
    "half a disc": disc(200, 150, 50) & (X < 200),
    "turned ellipse": ((X - 200) + (Y - 150))**2 / 90**2 + ((X - 200) - (Y - 150))**2 / 40**2 < 1,
    "a dead line": (Y > 100) & (Y < 101), "two dead columns": (X > 100) & (X < 102),
    "a block of 6 px": (abs(X - 99) < 3) & (abs(Y - 99) < 3),
    "dead pixels": np.random.default_rng(0).random((H, W)) < 0.02,
    # As much of it as the whole one beside it shows of itself.
    "a shadow that the frame cuts": disc(0, 150, 30) | disc(300, 150, 40),
}
MISSING = {
    "a corner": X + 2 * Y < 200, "a collar": (X < 20) | (Y > 250), "a line along the frame": X < 1,
    "a strip's slanted end": Y < 30 + 0.2 * X, "a tile": (abs(X - 200) < 50) & (abs(Y - 150) < 40),
    "a small tile": (abs(X - 200) < 6) & (abs(Y - 150) < 9),
    "a turned tile": (abs(X - 200 + (Y - 150) / 2) < 60) & (abs(Y - 150 - (X - 200) / 2) < 50),
    "a gap between strips": (Y > 80) & (Y < 240) & (abs(X - 200 - Y / 4) < Y / 6),
    "tiles in an L": (abs(X - 200) < 90) & (abs(Y - 150) < 90) & ~((X > 200) & (Y < 150)),
    "all": X > 0,
}


@pytest.mark.parametrize("name", GROUND)
def test_ground(name):
    assert not lost(GROUND[name]).any()


@pytest.mark.parametrize("name", MISSING)
def test_missing_ground(name):
    found, wanted = lost(MISSING[name]), MISSING[name]
    assert not (found & ~wanted).any()
    assert (wanted & ~found).sum() <= 12  # the sharpest ends


def test_shadow_and_dead_pixels_beside_missing_ground():
    collar, ground = X < 40, disc(200, 150, 40) | disc(300, 60, 9)
    dead = np.random.default_rng(1).random((H, W)) < 0.01
    found = lost(collar | ground | dead)
    assert found[collar].all() and not found[ground].any()
    assert found[(X > 45)].sum() == 0


def test_a_shadow_at_the_frame_is_missing_where_none_is_seen_whole():
    assert lost(disc(0, 150, 30)).any()
    assert lost(disc(0, 150, 60) | disc(300, 150, 20))[:, :60].any()  # far larger than that one


def test_in_cells_the_area_is_still_true(monkeypatch):
    monkeypatch.setattr(missing, "_CELLS", 100)  # cells of 5 px
    dead = np.random.default_rng(1).random((H, W)) < 0.01
    wedge = X + 2 * Y < 203
    found = lost(wedge | dead, strip=37)
    assert abs(int(found.sum()) - int(wedge.sum())) < 0.001 * H * W
    assert not found[X + 2 * Y > 230].any()


def test_dead_pixels_take_the_mean_of_their_neighbours_and_shadows_stay():
    pixels = np.full((30, 40), 100, np.uint8)
    pixels[:, 20:] = 200
    empty = np.zeros(pixels.shape, bool)
    empty[5, 5] = empty[9:11, 30:32] = empty[15, 20] = True
    empty[20:26, 8:14] = True  # a shadow
    pixels[empty] = 0
    mended = without_specks(pixels, empty, np.zeros_like(empty))
    assert mended[5, 5] == 100 and (mended[9:11, 30:32] == 200).all()
    assert 100 < mended[15, 20] < 200 and (mended[20:26, 8:14] == 0).all()
    np.testing.assert_array_equal(mended[~empty], pixels[~empty])
    colour = without_specks(np.dstack([pixels, pixels // 2, pixels]), empty,
                            np.zeros_like(empty))
    assert colour[5, 5].tolist() == [100, 50, 100]
    assert without_specks(pixels, empty, empty) is pixels  # missing ground is not mended
