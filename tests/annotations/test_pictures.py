"""Pictures show the outlines where they are and stay small enough for a web page."""

import io

import numpy as np
from PIL import Image

from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.pictures import (
    INLINE_BYTES, class_color, contact_sheet, diameter_histogram, encode_picture, fit_png, overlay)

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


def test_noise_is_made_to_fit():
    noise = np.random.default_rng(0).integers(0, 256, (280, 360, 3), np.uint8)
    data = encode_picture(noise, 20_000)
    assert len(data) <= 20_000
    height, width = opened(data).shape[:2]
    assert abs(width / height - 9 / 7) < 0.05
    assert opened(encode_picture(noise, None)).shape == noise.shape
    assert len(fit_png(lambda side: noise[:side, :side], 280, 9_000)) <= 9_000
