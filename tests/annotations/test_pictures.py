"""Pictures show the outlines where they are and stay small enough for a web page."""

import io

import numpy as np
import rasterio
from PIL import Image

from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.pictures import (
    contact_sheet,
    count_histogram,
    diameter_histogram,
    km_histogram,
    side_by_side,
)
from crater_model.annotations.scene import Instance, Scene
from crater_model.pictures.drawing import (
    INLINE_BYTES,
    class_color,
    encode_picture,
    fit_png,
    overlay,
)

SQUARE = np.array([[10.5, 5.5], [40.5, 5.5], [40.5, 20.5], [10.5, 20.5]])


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_outline_is_drawn_where_it_is():
    grey = np.full((30, 60), 100, np.uint8)
    picture = overlay(grey, [SQUARE], color=(255, 0, 0))
    assert picture.shape == (30, 60, 3) and (grey == 100).all()
    # The corner (10.5, 5.5) is the middle of the pixel at column 10, row 5.
    # (Smoothing of the line leaves it a little grey.)
    for row, column in ((5, 25), (12, 10), (20, 25), (12, 40)):
        np.testing.assert_allclose(picture[row, column], (255, 0, 0), atol=25)
    assert tuple(picture[12, 25]) == tuple(picture[25, 50]) == (100, 100, 100)


def test_zoom_scores_and_colours():
    image = np.zeros((30, 60, 3), np.uint8)
    picture = overlay(image, [SQUARE], zoom=2)
    assert picture.shape == (60, 120, 3) and picture[10:12, 50].any()
    good = overlay(image, [SQUARE], scores=[1.0])[5, 25]
    bad = overlay(image, [SQUARE], scores=[0.0])[5, 25]
    np.testing.assert_allclose(good, (0, 255, 0), atol=25)
    np.testing.assert_allclose(bad, (255, 0, 0), atol=25)
    two = overlay(image, [SQUARE, SQUARE / 2], color=[(1, 2, 3), (9, 8, 7)])
    assert two[12, 10, 0] < two[12, 10, 1] < two[12, 10, 2]
    assert class_color(1) != class_color(2) and class_color(7) == class_color(1)
    assert overlay(image, []).shape == (30, 60, 3)


def test_contact_sheet_and_histogram(tiny_dataset, crowded_dataset):
    for folder in (tiny_dataset, crowded_dataset):
        dataset = load_dataset(folder)
        data = contact_sheet(dataset)
        assert len(data) <= INLINE_BYTES
        sheet = opened(data)
        assert sheet.shape[1] > 300
        orange = (sheet[..., 0] > 180) & (sheet[..., 2] < 90)
        assert orange.sum() > 100
        histogram = diameter_histogram(dataset)
        assert len(histogram) <= INLINE_BYTES and opened(histogram).shape == (280, 520, 3)


def test_a_data_set_without_craters_has_pictures(tmp_path, make_dataset):
    dataset = load_dataset(make_dataset(tmp_path / "d", craters=(0,)))
    assert opened(contact_sheet(dataset)).shape == (160, 240, 3)
    assert opened(diameter_histogram(dataset)).shape == (280, 520, 3)


def test_of_one_large_image_several_places_are_shown(tmp_path):
    """Each of the nine windows is a grey of its own; a TIFF is read only where it is shown."""
    pixels = np.kron(np.arange(25, 250, 25, dtype=np.uint8).reshape(3, 3),
                     np.ones((300, 400), np.uint8))

    def write(path):
        with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=1, width=1200,
                           height=900, tiled=True, blockxsize=16, blockysize=16) as out:
            out.write(pixels, 1)
    ring = np.array([[600.0, 440.0], [612.0, 440.0], [612.0, 450.0], [600.0, 450.0]])
    scene = Scene(1, "a.tif", 1200, 900, (Instance(1, 1, (ring,), 120.0),))
    save_dataset(tmp_path / "d", [(scene, write)], {1: "crater"})
    sheet = opened(contact_sheet(load_dataset(tmp_path / "d"), 12, 4, 160, None))
    assert sheet.shape == (3 * 164 - 4, 4 * 164 - 4, 3)
    greys = {int(sheet[y + 150, x + 10, 0]) for y in (0, 164) for x in (0, 164, 328, 492)}
    assert len(greys) == 8 and (sheet[400, 300:] == 255).all()
    colourful = np.ptp(sheet.astype(int), axis=-1) > 60
    assert colourful[:160, :160].sum() > 10 and not colourful[164:].any()
    two = opened(contact_sheet(load_dataset(tmp_path / "d"), 2, 4, 160, None))
    assert two.shape == (160, 2 * 164 - 4, 3)


def test_two_images_side_by_side(tiny_dataset):
    dataset = load_dataset(tiny_dataset)
    picture = opened(side_by_side(dataset, [("scene_001.png", "scene_003.png"),
                                            ("scene_003.png", "scene_002.png")], 192))
    assert picture.shape == (2 * 132 - 4, 2 * 196 - 4, 3)  # 96x64 px twice as large
    orange = (picture[..., 0] > 200) & (picture[..., 2] < 60)
    assert orange[:130, :194].any() and orange[130:, 194:].any()
    assert not orange[:130, 194:].any() and not orange[130:, :194].any()  # the third has none
    assert len(side_by_side(dataset, [("scene_001.png", "scene_002.png")], 400, 20_000)) <= 20_000


def test_other_histograms(tiny_dataset):
    dataset = load_dataset(tiny_dataset)
    for data in (count_histogram(dataset), km_histogram([0.5, 2.0, 30.0]), km_histogram([])):
        assert len(data) <= INLINE_BYTES and opened(data).shape == (280, 520, 3)
    one, other = (opened(km_histogram(values)) for values in ([1.0] * 5, [1.0, 9.0]))
    assert (one != other).any()


def test_shadows_and_slopes_stay_grey():
    """A picture of few greys that has a few px of black and of white, and one outline."""
    rng = np.random.default_rng(0)
    grey = rng.integers(90, 150, (240, 320), np.uint8)
    grey[40:52, 60:75], grey[100:112, 60:75] = 0, 255
    picture = overlay(grey, [np.array([[200.0, 50], [260, 50], [260, 120], [200, 120]])])
    data = encode_picture(picture, 48_000)
    small = opened(data).astype(int)
    assert len(data) < 48_000 < len(encode_picture(picture, None))
    assert small.shape == picture.shape
    drawn = np.ptp(picture.astype(int), axis=2) > 0
    assert np.ptp(small[~drawn], axis=1).max() <= 2
    assert small[42:50, 62:73].max() == 0 and small[102:110, 62:73].min() == 255
    assert (small[..., 0] - small[..., 2] > 60).sum() > 300  # the outline, blended with the grey


def test_noise_is_made_to_fit():
    noise = np.random.default_rng(0).integers(0, 256, (280, 360, 3), np.uint8)
    data = encode_picture(noise, 20_000)
    assert len(data) <= 20_000
    height, width = opened(data).shape[:2]
    assert abs(width / height - 9 / 7) < 0.05
    assert opened(encode_picture(noise, None)).shape == noise.shape
    assert len(fit_png(lambda side: noise[:side, :side], 280, 9_000)) <= 9_000
