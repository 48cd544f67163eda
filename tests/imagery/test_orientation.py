"""Images that are stored turned are read as they are shown."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from crater_model.annotations.dataset import load_dataset
from crater_model.errors import DataError, DataProblems
from crater_model.imagery.raster import open_raster, read_header
from crater_model.importing.dataset import import_dataset

W, H = 120, 70  # as shown
DISC = (80, 25, 12)


def shown() -> np.ndarray:
    y, x = np.mgrid[:H, :W] + 0.5
    disc = (x - DISC[0])**2 + (y - DISC[1])**2 < DISC[2]**2
    return np.where(disc, 230, 60).astype(np.uint8)


def save_turned(path, turn: int, pixels=None) -> None:
    """Writes a picture that is shown as `shown` is, stored as `turn` says."""
    image = Image.fromarray(shown() if pixels is None else pixels)
    for other in range(1, 9):  # the one that turns it back
        exif = Image.Exif()
        exif[0x0112] = other
        data = io.BytesIO()
        image.save(data, "PNG", exif=exif)
        stored = ImageOps.exif_transpose(Image.open(data))
        exif[0x0112] = turn
        again = io.BytesIO()
        Image.fromarray(np.asarray(stored)).save(again, "PNG", exif=exif)
        if np.array_equal(np.asarray(ImageOps.exif_transpose(Image.open(again))), image):
            options = {"quality": 95} if path.suffix == ".jpg" else {}
            Image.fromarray(np.asarray(stored)).save(path, exif=exif, **options)
            return
    raise AssertionError(turn)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_read_as_shown(tmp_path, turn, suffix):
    save_turned(path := tmp_path / f"a{suffix}", turn)
    assert read_header(path)[:2] == (W, H)
    with open_raster(path) as raster:
        assert (raster.width, raster.height) == (W, H)
        np.testing.assert_allclose(raster.read(0, 0, W, H).pixels, shown(), atol=40)


@pytest.mark.parametrize("turn", [3, 6])
def test_labels_lie_where_they_were_drawn(tmp_path, turn):
    save_turned(tmp_path / "a.jpg", turn)
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x, y, r = DISC
    points = np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1).tolist()
    (tmp_path / "a.json").write_text(json.dumps({
        "version": "5.5.0", "flags": {}, "imagePath": "a.jpg", "imageData": None,
        "imageHeight": H, "imageWidth": W, "shapes": [
            {"label": "crater", "points": points, "shape_type": "polygon", "flags": {}}]}))
    import_dataset(tmp_path, tmp_path / "data")
    assert mean_under_label(tmp_path / "data") == pytest.approx(230, abs=8)


def test_labels_made_for_the_stored_picture_are_refused_with_the_cause(tmp_path):
    save_turned(tmp_path / "a.jpg", 6)
    (tmp_path / "a.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.jpg", "width": H, "height": W}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 20, 20]}],
        "categories": [{"id": 1, "name": "crater"}]}))
    with pytest.raises(DataProblems, match=r"a.jpg.* is 120x70 px as it is shown .EXIF's "):
        import_dataset(tmp_path, tmp_path / "data")


def mean_under_label(folder) -> float:
    """Of the only label's box's inner half; as any reader sees it, EXIF or not."""
    data = load_dataset(folder)
    (scene,) = data.scenes
    raw = np.asarray(Image.open(data.image_path(scene)).convert("L"))
    np.testing.assert_array_equal(raw, data.read_image(scene))
    encoded = np.asarray(Image.open(io.BytesIO(data.encoded_image(scene))).convert("L"))
    np.testing.assert_array_equal(raw, encoded)
    (ring,) = scene.instances[0].rings
    (x0, y0), (x1, y1) = (np.asarray(ring).min(axis=0), np.asarray(ring).max(axis=0))
    dx, dy = (x1 - x0) / 4, (y1 - y0) / 4
    return float(raw[int(y0 + dy):int(y1 - dy), int(x0 + dx):int(x1 - dx)].mean())


def test_a_turned_tiff_or_map_is_refused(tmp_path):
    Image.fromarray(shown()).save(tmp_path / "a.tif", tiffinfo={0x0112: 6})
    with pytest.raises(DataError, match="a.tif: is stored turned .EXIF or TIFF orientation 6"):
        open_raster(tmp_path / "a.tif")
    save_turned(tmp_path / "m.png", 3)
    (tmp_path / "m.pgw").write_text("100\n0\n0\n-100\n4050\n8950\n")
    (tmp_path / "m.png.aux.xml").write_text(
        "<PAMDataset><SRS>+proj=eqc +R=1737400 +units=m</SRS></PAMDataset>")
    with pytest.raises(DataError, match="m.png: is stored turned .EXIF orientation 3. and has a"):
        read_header(tmp_path / "m.png")


def test_what_is_transparent_is_no_data(tmp_path):
    pixels = np.dstack([shown()] * 3 + [np.full((H, W), 255, np.uint8)])
    pixels[:, :30, 3] = 0
    pixels[10:12, 90:92, 3] = 0  # a speck
    for mode in ("RGBA", "LA"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / "a.png")
        with open_raster(tmp_path / "a.png") as raster:
            found, valid = raster.read(0, 0, W, H)
            assert raster.has_invalid and raster.missing.pixels == 30 * H
        assert not valid[:, :30].any() and valid[:, 30:].all() and not found[:, :30].any()
        np.testing.assert_array_equal(found[20:, 30:], pixels[20:, 30:, :found.ndim == 3 and 3 or 1
                                                              ].squeeze())


def test_the_cases(cases, tmp_path):
    import_dataset(cases / "exif" / "exifdisc3", tmp_path / "data")
    assert mean_under_label(tmp_path / "data") == pytest.approx(230, abs=12)
    import_dataset(cases / "exif" / "lm_exif6", tmp_path / "six")
    (scene,) = load_dataset(tmp_path / "six").scenes
    with Image.open(cases / "exif" / "lm_exif6" / "a.jpg") as stored:
        seen = np.asarray(ImageOps.exif_transpose(stored).convert("L"))
    assert (scene.width, scene.height) == seen.shape[::-1] == (200, 150) != stored.size
    np.testing.assert_array_equal(load_dataset(tmp_path / "six").read_image(scene), seen)
