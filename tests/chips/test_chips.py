"""Chips show what the scene shows, where it shows it, and lose no crater silently."""

import dataclasses
import json
import os

import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image

from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.scene import Instance, Scene
from crater_model.annotations.validate import check_dataset
from crater_model.chips import choose_scale, cut_chips, jobs
from crater_model.chips.windows import positions
from crater_model.errors import ConfigError, DataError
from crater_model.imagery import resample as resampling
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.raster import ArrayRaster, FileRaster, open_raster
from crater_model.imagery.resample import DataMap, Region, read_scaled, resample
from crater_model.imagery.stretch import Stretch


def disc(x, y, r, n=48):
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([x + r * np.cos(angles), y + r * np.sin(angles)], axis=1)


def save(folder, rings, size=(100, 60), **scene):
    """One scene, white inside the rings, on disk."""
    width, height = size
    yy, xx = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width), np.uint8)
    for ring in rings:
        shape = shapely.Polygon(ring)
        image[shapely.contains_xy(shape, xx, yy)] = 255
    instances = tuple(Instance(i, 1, (ring,), 0.0) for i, ring in enumerate(rings, start=1))
    return save_dataset(folder, [(Scene(5, "s.png", width, height, instances, **scene), image)],
                        {1: "crater"})


@pytest.mark.parametrize("length, chip, overlap, expected", [
    (100, 40, 0.25, [0, 30, 60]), (100, 100, 0.25, [0]), (101, 100, 0.0, [0, 1]),
    (100, 50, 0.0, [0, 50]), (90, 40, 0.5, [0, 17, 33, 50])])
def test_windows_cover_everything(length, chip, overlap, expected):
    found = positions(length, chip, overlap)
    assert found == expected
    assert found[0] == 0 and found[-1] + chip == length
    assert all(b - a <= chip * (1 - overlap) + 1 for a, b in zip(found, found[1:]))


@pytest.mark.parametrize("scale", [2.0, 1.0, 0.5, 0.7, 1.3])
def test_labels_stay_on_the_pixels_and_map_back(tmp_path, scale):
    rings = [disc(30.25, 20.5, 9), disc(70, 40.75, 12), disc(55, 15, 5)]
    save(tmp_path / "d", rings, split="test", scene="mosaic", offset=(7, 11), scale=4.0)
    cut_chips(tmp_path / "d", tmp_path / "c", 32, [scale], overlap=0.5)
    assert check_dataset(tmp_path / "c").problems == []
    chips = load_dataset(tmp_path / "c")
    originals = [shapely.Polygon(ring / 4.0 + (7, 11)) for ring in rings]
    seen = set()
    for chip in chips.scenes:
        assert (chip.scene, chip.split, chip.scale) == ("mosaic", "test", 4.0 * scale)
        image = chips.read_image(chip)
        yy, xx = np.mgrid[:chip.height, :chip.width] + 0.5
        covered = np.zeros(image.shape, bool)
        window = shapely.box(*chip.to_scene([(0, 0)])[0],
                             *chip.to_scene([(chip.width, chip.height)])[0])
        for instance in chip.instances:
            covered |= shapely.contains_xy(shapely.Polygon(instance.rings[0]), xx, yy)
            back = shapely.Polygon(chip.to_scene(instance.rings[0]))
            match = [i for i, shape in enumerate(originals) if back.intersection(
                shape.intersection(window)).area / back.union(shape.intersection(window)).area
                > 0.999]
            assert len(match) == 1
            seen.update(match)
        if chip.instances and _all_inside(chip, originals, window):
            # Where nothing was dropped, white is exactly where the labels are.
            assert np.abs((image > 127) ^ covered).mean() < 0.06
    assert seen == {0, 1, 2}


def _all_inside(chip, originals, window):
    return sum(shape.intersects(window) for shape in originals) == len(chip.instances)


def test_resampling_aligns_pixel_edges():
    ramp = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (10, 1))  # value = 4 x - 2 at x
    up = resample(ramp, 10, 2, 40, 8, 2.0)
    np.testing.assert_allclose(up[3, 4:-4], 4 * (10 + (np.arange(40) + 0.5) / 2)[4:-4] - 2, atol=1)
    down = resample(ramp, 10, 2, 20, 4, 0.5)
    np.testing.assert_allclose(down[1], 4 * (10 + (np.arange(20) + 0.5) * 2) - 2, atol=1)
    np.testing.assert_array_equal(resample(ramp, 3, 1, 5, 4, 1.0), ramp[1:5, 3:8])
    assert resample(np.zeros((9, 12, 3), np.uint8), 0, 0, 6, 4, 0.5).shape == (4, 6, 3)


def test_cut_and_small_craters_are_counted(tmp_path):
    save(tmp_path / "d", [disc(48, 30, 10), disc(20, 20, 1.5), disc(75, 30, 24)])
    report = cut_chips(tmp_path / "d", tmp_path / "c", 50, [1.0], overlap=0.0)
    chips = load_dataset(tmp_path / "c").scenes
    # Four chips (2 x 2, the rows overlap): the first crater is cut 58:42 by x = 50, the
    # second is 3 px across, and the third is in the right chips only, cut a little.
    assert (report.chips, report.scenes, report.unchanged) == (4, 1, 0)
    assert report.dropped_small == 2 and report.lost == 1
    assert [len(chip.instances) for chip in chips] == [1, 1, 1, 1]
    assert report.instances == 4 and report.dropped_cut == 2
    left = chips[0].instances[0]
    assert left.box[3] == 50 and left.box[1] == pytest.approx(38)
    assert 0.5 < left.area / shapely.Polygon(disc(48, 30, 10)).area < 0.75


def test_a_scene_that_fits_passes_through_byte_for_byte(tiny_dataset, tmp_path):
    report = cut_chips(tiny_dataset, tmp_path / "c", 96, [1.0])
    assert (report.chips, report.unchanged, report.instances, report.lost) == (6, 6, 25, 0)
    before, after = load_dataset(tiny_dataset), load_dataset(tmp_path / "c")
    for old, new in zip(before.scenes, after.scenes):
        assert (new.file_name, new.scene, new.scale) == (old.file_name, old.scene, 1.0)
        assert before.image_path(old).read_bytes() == after.image_path(new).read_bytes()
        for a, b in zip(old.instances, new.instances):
            np.testing.assert_array_equal(a.rings[0], b.rings[0])


def test_small_scenes_keep_their_own_size_and_empty_ones_stay(tiny_dataset, tmp_path):
    report = cut_chips(tiny_dataset, tmp_path / "c", 64, [1.0, 0.5])
    chips = load_dataset(tmp_path / "c").scenes
    assert {(c.width, c.height, c.scale) for c in chips} == {(64, 64, 1.0), (48, 32, 0.5)}
    assert report.scales == (1.0, 0.5) and report.to_dict()["scales"] == [1.0, 0.5]
    assert sum(not c.instances for c in chips if c.scene == "scene_003.png") == 3
    assert len({c.file_name for c in chips}) == len(chips) == report.chips


def test_a_chip_holds_any_number_of_craters(crowded_dataset, tmp_path):
    report = cut_chips(crowded_dataset, tmp_path / "c", 320, [1.0, 2.0])
    chips = load_dataset(tmp_path / "c").scenes
    assert max(len(c.instances) for c in chips) == 600
    assert report.lost == 0


@pytest.mark.parametrize("radius, expected", [(5, 2.0), (2, 2.0), (6, 1.0), (11, 1.0),
                                              (12, 0.5), (20, 0.5), (45, 0.25)])
def test_scale_brings_the_median_near_sixteen(tmp_path, radius, expected):
    save(tmp_path / "d", [disc(50, 50, radius)] * 3, size=(101, 103))
    assert choose_scale(load_dataset(tmp_path / "d")) == expected


def test_auto_scale_of_a_set_without_craters(tmp_path):
    save(tmp_path / "d", [])
    assert cut_chips(tmp_path / "d", tmp_path / "c", 64).scales == (1.0,)


@pytest.mark.parametrize("arguments, text", [
    (dict(size=8), "chip size: got 8"), (dict(size=64, scales=[]), "scales: got"),
    (dict(size=64, scales="many"), "scales: got 'many'"),
    (dict(size=64, scales=[1, 1.0]), "expected different numbers"),
    (dict(size=64, overlap=1.0), "overlap: got 1.0"),
    (dict(size=64, min_visible=-1), "min_visible: got -1"),
    (dict(size=64, min_diameter=0), "min_diameter: got 0"),
    (dict(size=64, scales=[0.001]), "expected different numbers from 0.002 to 16"),
    (dict(size=64, min_valid=1.5), "min_valid: got 1.5"),
    (dict(size=64, max_craters=0), "max_craters: got 0"),
    (dict(size=64, empties=-0.5), "empties: got -0.5"),
    (dict(size=64, empties=float("nan")), "empties: got nan"),
    (dict(size=64, seed="x"), "seed: got 'x'")])
def test_arguments_out_of_range(tiny_dataset, tmp_path, arguments, text):
    with pytest.raises(ConfigError, match=text):
        cut_chips(tiny_dataset, tmp_path / "c", **arguments)
    assert not (tmp_path / "c").exists()


def test_the_data_set_itself_is_never_overwritten(tiny_dataset):
    before = (tiny_dataset / "annotations.json").read_bytes()
    for out in (tiny_dataset, tiny_dataset.parent, tiny_dataset / "images" / ".."):
        with pytest.raises(ConfigError, match="holds the data set"):
            cut_chips(tiny_dataset, out, 32)
    assert (tiny_dataset / "annotations.json").read_bytes() == before


def test_a_broken_image_leaves_nothing_behind(tiny_dataset, tmp_path):
    path = tiny_dataset / "images" / "scene_004.png"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match="scene_004.png: cannot be read as an image"):
        cut_chips(tiny_dataset, tmp_path / "c", 32)
    assert [p.name for p in tmp_path.iterdir()] == ["tiny_dataset"]


def test_real_mosaics_give_chips_at_twice_their_size(real_data, tmp_path):
    document = json.loads((real_data / "moon_nac_train" / "annotations.json").read_text())
    document["images"] = document["images"][:1]
    keep = {document["images"][0]["id"]}
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] in keep]
    folder = tmp_path / "nac"
    folder.mkdir()
    (folder / "images").symlink_to(real_data / "moon_nac_train" / "images")
    (folder / "annotations.json").write_text(json.dumps(document))
    report = cut_chips(folder, tmp_path / "c", 256)
    assert report.scales == (2.0,) and report.chips == 64 and report.lost <= 3
    found = check_dataset(tmp_path / "c")
    assert found.ok and 17 < found.statistics["diameter_px"]["median"] < 24


# --- pixels, a piece at a time ----------------------------------------------------------------


class Watched(ArrayRaster):
    """Remembers how much was read at once."""

    most = 0

    def read(self, left, top, width, height):
        assert 0 <= left < left + width <= self.width and 0 <= top < top + height <= self.height
        self.most = max(self.most, width * height * self.bands)
        return super().read(left, top, width, height)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("scale, off", [
    (0.5, 0), (0.25, 0), (0.0625, 0), (2.0, 0), (0.7, 1), (0.13, 1), (1.3, 1), (1.0, 0)])
def test_pieces_are_what_the_whole_gives(monkeypatch, bands, scale, off):
    monkeypatch.setattr(resampling, "SOURCE_VALUES", 60_000)
    pixels = np.random.default_rng(3).integers(0, 256, (430, 610, 3), np.uint8)
    pixels = pixels if bands == 3 else pixels[..., 0].copy()
    width, height = int(610 * scale), int(430 * scale)
    whole = resample(pixels, 0, 0, width, height, scale).astype(int)
    raster = Watched(pixels)
    for x, y, w, h in ((0, 0, width, height), (width // 3, height // 2, width // 2, height // 3)):
        found = read_scaled(raster, Region(x, y, w, h, scale))
        assert found.coverage is None
        difference = np.abs(found.values - whole[y:y + h, x:x + w])
        # Off by two: half steps rounded the other way along the rows and then the columns.
        assert difference.max() <= 2 * off and (difference > off).mean() < 0.002
    assert 10_000 < raster.most <= 60_000 < pixels.size


def test_chips_are_slices_of_the_whole_scaled_scene(tmp_path):
    image = np.random.default_rng(5).integers(0, 256, (300, 420), np.uint8)
    save_dataset(tmp_path / "d", [(Scene(1, "s.png", 420, 300), image)], {1: "crater"})
    cut_chips(tmp_path / "d", tmp_path / "c", 48, [0.5, 2.0], overlap=0.3)
    chips = load_dataset(tmp_path / "c")
    whole = {scale: resample(image, 0, 0, int(420 * scale), int(300 * scale), scale)
             for scale in (0.5, 2.0)}
    for chip in chips.scenes:
        x, y = (round(v * chip.scale) for v in chip.offset)
        np.testing.assert_array_equal(chips.read_image(chip),
                                      whole[chip.scale][y:y + 48, x:x + 48])


@pytest.mark.parametrize("cores, values", [(1, 2**24), (8, 2**24), (8, 9000)])
def test_threads_and_pieces_change_nothing(crowded_dataset, tmp_path, monkeypatch, cores, values):
    arguments = dict(size=64, scales=[1.0, 0.5, 2.0], max_craters=9, empties=0.1)
    cut_chips(crowded_dataset, tmp_path / "a", **arguments)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
    for module in (resampling, jobs):
        monkeypatch.setattr(module, "SOURCE_VALUES", values)
    cut_chips(crowded_dataset, tmp_path / "b", **arguments)
    a, b = ({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
            for folder in (tmp_path / "a", tmp_path / "b"))
    assert len(a) > 100 and a == b


# --- scenes with places that have no data --------------------------------------------------------

MOON = "+proj=eqc +R=1737400 +units=m"


def save_tiff(folder, pixels, rings=(), block=16, sparse=True, **profile):
    """A data set of one georeferenced GeoTIFF [h, w] or [h, w, 3] whose zeros are no data."""
    height, width = pixels.shape[:2]
    bands = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    transform = rasterio.Affine(100.0, 7.0, 5000.0, 3.0, -90.0, 8000.0)
    def write(path):
        with rasterio.open(path, "w", driver="GTiff", width=width, height=height,
                           count=len(bands), dtype="uint8", nodata=0, crs=MOON,
                           transform=transform, tiled=True, blockxsize=block, blockysize=block,
                           sparse_ok=sparse, **profile) as out:
            out.write(bands)
    place = Georeference(MOON, tuple(transform)[:6], width, height)
    instances = tuple(Instance(i, 1, (ring,), 0.0, source="circle", diameter_km=2.5)
                      for i, ring in enumerate(rings, start=1))
    scene = Scene(3, "map.tif", width, height, instances, split="train", ground="mare",
                  georeference=place, stretch=Stretch(3.0, 900.0, (0.5, 99.5)))
    return save_dataset(folder, [(scene, write)], {1: "crater"})


def half_empty():
    """160 x 96 px of 100, 140, ...; nothing left of x = 56, and a shadow, of which a file with 0
    as no-data says that it is nothing too."""
    pixels = np.full((96, 160), 100, np.uint8)
    pixels[:, 120:] = 140
    pixels[:, :56] = 0
    pixels[40:50, 100:104] = 0
    return pixels


@pytest.mark.parametrize("sparse", [False, True])
def test_chips_without_data_are_left_out_and_holes_are_filled(tmp_path, sparse):
    save_tiff(tmp_path / "d", half_empty(), [disc(20, 48, 8), disc(100, 48, 10), disc(140, 40, 9)],
              sparse=sparse)
    report = cut_chips(tmp_path / "d", tmp_path / "c", 40, [1.0], overlap=0.0)
    chips = load_dataset(tmp_path / "c")
    # Columns at 0, 40, 80, 120 and rows at 0, 28, 56; the first column has no data, the
    # second on 24 of 40 px.
    assert (report.chips, report.left_out_invalid, report.chips_per_scale) == (9, 3, (9,))
    assert report.lost == 1  # the first crater
    images = {chip.file_name: chips.read_image(chip) for chip in chips.scenes}
    assert sorted({name[-16:-11] for name in images}) == ["00040", "00080", "00120"]
    assert (images["map_tif_s1_x00040_y00000.png"] == 100).all()  # 100 is the rest's mean
    shadow = images["map_tif_s1_x00080_y00028.png"] == 0
    assert shadow[12:22, 20:24].all() and shadow.sum() == 40  # as it is, and no hole
    report = cut_chips(tmp_path / "d", tmp_path / "c", 40, [1.0], overlap=0.0, min_valid=0.61)
    assert (report.chips, report.left_out_invalid) == (6, 6)
    report = cut_chips(tmp_path / "d", tmp_path / "c", 40, [1.0], overlap=0.0, min_valid=0)
    assert (report.chips, report.left_out_invalid) == (9, 3)  # never without any data


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.5])
def test_edges_of_the_data_stay_bright_at_other_scales(tmp_path, scale):
    save_tiff(tmp_path / "d", half_empty())
    cut_chips(tmp_path / "d", tmp_path / "c", 320, [scale], min_valid=0.3)
    chips = load_dataset(tmp_path / "c")
    image = chips.read_image(chips.scenes[0])
    assert image.shape == (int(96 * scale + 1e-6), int(160 * scale + 1e-6))
    # Data: 64 px of 100 (less the spot) and 40 px of 140, whose mean is 115.5.
    assert (np.abs(image[:, :int(54 * scale)].astype(int) - 115.5) <= 1).all()
    edge = image[:, int(57 * scale):int(98 * scale)]
    assert edge.min() >= 99 and edge.max() <= 101 + 16
    assert np.abs(image[:, int(123 * scale):].astype(int) - 140).max() <= 1


def test_colour_holes_get_the_mean_of_each_band(tmp_path):
    pixels = np.zeros((50, 70, 3), np.uint8)
    pixels[:, 30:] = 200, 90, 31
    save_tiff(tmp_path / "d", pixels)
    report = cut_chips(tmp_path / "d", tmp_path / "c", 64, [0.5])
    chips = load_dataset(tmp_path / "c")
    image = chips.read_image(chips.scenes[0])
    assert report.chips == 1 and image.shape == (25, 35, 3)
    assert np.abs(image.astype(int) - (200, 90, 31)).max() <= 1


def test_a_tiff_that_fits_becomes_a_png_with_all_its_labels(tmp_path):
    pixels = np.arange(40 * 60, dtype=np.uint8).reshape(40, 60) | 1
    save_tiff(tmp_path / "d", pixels, [disc(20, 20, 1.5), disc(40, 20, 8)])
    report = cut_chips(tmp_path / "d", tmp_path / "c", 64, [1.0])
    assert (report.chips, report.unchanged, report.instances) == (1, 1, 2)
    before, after = load_dataset(tmp_path / "d"), load_dataset(tmp_path / "c")
    old, new = before.scenes[0], after.scenes[0]
    assert new.file_name == "map_tif_s1_x00000_y00000.png"
    assert Image.open(after.image_path(new)).format == "PNG"
    np.testing.assert_array_equal(after.read_image(new), pixels)
    assert (new.scene, new.ground, new.scale, new.offset) == ("map.tif", "mare", 1.0, (0, 0))
    assert new.georeference.transform == old.georeference.transform
    np.testing.assert_array_equal(new.instances[0].rings[0], old.instances[0].rings[0])


def test_parts_that_a_sparse_file_leaves_out_are_not_read(tmp_path, monkeypatch):
    pixels = np.zeros((320, 480), np.uint8)
    pixels[160:240, 320:400] = pixels[160:240, 40:80] = 77
    save_tiff(tmp_path / "d", pixels)
    read = []
    original = FileRaster.read
    monkeypatch.setattr(FileRaster, "read", lambda self, *window: read.append(window) or original(
        self, *window))
    report = cut_chips(tmp_path / "d", tmp_path / "c", 40, [1.0, 0.5], overlap=0.0)
    assert report.chips_per_scale == (6, 2) and report.left_out_invalid == 8 * 12 + 24 - 8
    assert sum(w * h for _, _, w, h in read) < 0.2 * pixels.size  # nor what lies between
    with open_raster(tmp_path / "d" / "images" / "map.tif") as raster:
        data = DataMap(raster)
        assert data.has_data(Region(320, 160, 1, 1, 1.0))
        assert not data.has_data(Region(400, 160, 20, 20, 1.0))
        assert data.has_data(Region(399, 160, 20, 20, 1.0))


def test_zeros_that_count_as_data_are_not_left_out(tmp_path):
    path = tmp_path / "d" / "images" / "map.tif"
    save_tiff(tmp_path / "d", np.zeros((64, 96), np.uint8))
    with rasterio.open(path, "r+") as file:
        file.nodata = None
    report = cut_chips(tmp_path / "d", tmp_path / "c", 32, [1.0], overlap=0.0)
    assert (report.chips, report.left_out_invalid) == (6, 0)


def test_black_blocks_that_a_mask_calls_data_are_not_left_out(tmp_path):
    path = tmp_path / "d" / "images" / "map.tif"
    save_tiff(tmp_path / "d", np.zeros((64, 96), np.uint8))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.nodata = None
        mask = np.full((64, 96), 255, np.uint8)
        mask[:, 64:] = 0
        file.write_mask(mask)
    report = cut_chips(tmp_path / "d", tmp_path / "c", 32, [1.0], overlap=0.0)
    assert (report.chips, report.left_out_invalid) == (4, 2)


def test_nothing_left_is_an_error(tmp_path):
    save_tiff(tmp_path / "d", np.zeros((64, 96), np.uint8), [disc(30, 30, 9)])
    with pytest.raises(DataError, match="d: no chip is left of it .6 have data on less than 0.5"):
        cut_chips(tmp_path / "d", tmp_path / "c", 32, [1.0], overlap=0.0)
    assert not (tmp_path / "c").exists()


def test_a_broken_tiff_leaves_nothing_behind(tmp_path):
    noise = np.random.default_rng(0).integers(1, 256, (200, 300), np.uint8)
    save_tiff(tmp_path / "d", noise, compress="deflate")
    path = tmp_path / "d" / "images" / "map.tif"
    data = bytearray(path.read_bytes())
    data[-20_000:-200] = bytes(19_800)
    path.write_bytes(data)
    with pytest.raises(DataError, match="map.tif: cannot be read as an image"):
        cut_chips(tmp_path / "d", tmp_path / "c", 64, [1.0])
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


# --- what goes along ------------------------------------------------------------------------------


def test_a_chip_lies_where_its_scene_lies(tmp_path):
    pixels = np.full((150, 210), 90, np.uint8)
    save_tiff(tmp_path / "d", pixels, [disc(100, 70, 12)])
    cut_chips(tmp_path / "d", tmp_path / "c", 48, [1.0, 0.5, 1.3], overlap=0.5)
    scene = load_dataset(tmp_path / "d").scenes[0]
    chips = load_dataset(tmp_path / "c").scenes
    points = np.array([[0.0, 0.0], [10.25, 3.5], [47.0, 31.0]])
    for chip in chips:
        assert (chip.split, chip.ground, chip.scene) == ("train", "mare", "map.tif")
        assert chip.stretch == scene.stretch
        assert (chip.georeference.width, chip.georeference.height) == (chip.width, chip.height)
        np.testing.assert_allclose(chip.georeference.lonlat(points),
                                   scene.georeference.lonlat(chip.to_scene(points)), atol=1e-9)
        for instance in chip.instances:
            assert (instance.source, instance.diameter_km) == ("circle", 2.5)
    assert sum(bool(chip.instances) for chip in chips) > 3
    # And the crater's middle, through a chip that holds it whole, is its place on the Moon.
    whole = next(c for c in chips if c.instances and c.instances[0].area / c.scale**2
                 > 0.999 * scene.instances[0].area)
    middle = shapely.Polygon(whole.instances[0].rings[0]).centroid.coords[:]
    np.testing.assert_allclose(whole.georeference.pixels(scene.georeference.lonlat([[100, 70]])),
                               middle, atol=0.01)


# --- crowds and empties ---------------------------------------------------------------------------


def test_a_crowd_keeps_its_largest_and_says_so(tmp_path):
    radii = [5, 9, 3, 7, 4]
    save(tmp_path / "d", [disc(13 + 19 * i, 30, r) for i, r in enumerate(radii)])
    report = cut_chips(tmp_path / "d", tmp_path / "c", 100, [2.0], max_craters=2)
    # 200 x 120 px at scale 2: columns at 0, 50, 100 and rows at 0, 20. Craters shown:
    # 5, 9, then 9, 3, 7, then 3 (its left is cut), 7, 4.
    assert report.chips == 6
    chips = load_dataset(tmp_path / "c").scenes
    found = [[round(i.diameter / 4) for i in chip.instances] for chip in chips]
    assert found == 2 * [[5, 9], [9, 7], [7, 4]]
    assert report.dropped_crowded == 4 and report.crowded == 4 and report.lost == 1
    assert report.crowded_chips == tuple(
        f"s_s2_x{x:05d}_y{y:05d}.png" for y in (0, 20) for x in (50, 100))
    assert json.loads(json.dumps(report.to_dict()))["crowded_chips"] == list(report.crowded_chips)


def test_the_cap_holds_for_scenes_that_pass_through(crowded_dataset, tmp_path):
    report = cut_chips(crowded_dataset, tmp_path / "c", 320, [1.0], max_craters=100)
    before, after = (load_dataset(f).scenes for f in (crowded_dataset, tmp_path / "c"))
    assert [len(s.instances) for s in after] == [100, 0, 12]
    assert (report.dropped_crowded, report.crowded, report.lost) == (500, 1, 500)
    smallest = min(i.area for i in after[0].instances)
    assert sum(i.area > smallest + 0.01 for i in before[0].instances) == 99
    assert report.crowded_chips == ("scene_001.png",)


def test_only_twenty_crowded_chips_are_named(tmp_path, make_dataset):
    folder = make_dataset(tmp_path / "d", craters=(3,) * 23)
    report = cut_chips(folder, tmp_path / "c", 96, [1.0], max_craters=1)
    assert report.crowded == 23 and len(report.crowded_chips) == 20
    assert report.dropped_crowded == 46 == report.lost


@pytest.mark.parametrize("tiff", [False, True])
def test_chips_without_craters_are_drawn_evenly(tmp_path, tiff):
    """64 windows, 8 with a crater: the same is drawn whether or not data may be missing."""
    rings = [disc(20 + 40 * i, 20 + 40 * i, 9) for i in range(8)]
    if tiff:
        save_tiff(tmp_path / "d", np.full((320, 320), 50, np.uint8), rings)
    else:
        save(tmp_path / "d", rings, size=(320, 320))

    def empty_ones(**arguments):
        report = cut_chips(tmp_path / "d", tmp_path / "c", 40, [1.0], overlap=0.0, **arguments)
        chips = load_dataset(tmp_path / "c").scenes
        names = [chip.file_name for chip in chips if not chip.instances]
        assert report.instances == 8 and report.lost == 0
        assert report.chips == len(chips) == 64 - report.left_out_empty == 8 + len(names)
        return names

    assert len(empty_ones()) == 56 and empty_ones(empties=0) == []
    assert len(empty_ones(empties=100)) == 56
    drawn = empty_ones(empties=1.3)
    assert len(drawn) == 10 == len(set(drawn)) and drawn == empty_ones(empties=1.3)
    rows = [int(name[-9:-4]) for name in drawn]
    assert rows == sorted(rows) and rows[0] < 120 and rows[-1] >= 200  # not the first ones
    assert drawn != empty_ones(empties=1.3, seed=1)
    assert set(empty_ones(empties=0.5)) < set(drawn)


@pytest.mark.parametrize("sparse", [False, True])
def test_chips_without_data_are_never_drawn(tmp_path, sparse):
    save_tiff(tmp_path / "d", half_empty(), [disc(100, 15, 6), disc(140, 75, 8)], sparse=sparse)
    report = cut_chips(tmp_path / "d", tmp_path / "c", 40, [1.0], overlap=0.0, empties=1.0)
    assert (report.chips, report.left_out_invalid, report.left_out_empty) == (4, 3, 5)
    chips = load_dataset(tmp_path / "c")
    assert [len(c.instances) for c in chips.scenes] == [1, 1, 0, 0]
    assert {int(v) for c in chips.scenes for v in np.unique(chips.read_image(c))} <= {0, 100, 140}
    assert sum(int((chips.read_image(c) == 0).sum()) for c in chips.scenes) <= 40  # the shadow


def test_passing_scenes_without_craters_are_drawn_too(tmp_path, make_dataset):
    folder = make_dataset(tmp_path / "d", craters=(2, 0, 0, 0, 3, 0))
    report = cut_chips(folder, tmp_path / "c", 96, [1.0], empties=0.5)
    chips = load_dataset(tmp_path / "c")
    assert (report.chips, report.left_out_empty, report.unchanged) == (3, 3, 3)
    assert [len(c.instances) for c in chips.scenes] == [2, 3, 0]
    name = chips.scenes[2].file_name
    assert (folder / "images" / name).read_bytes() == (
        tmp_path / "c" / "images" / name).read_bytes()


def test_counts_at_each_scale(tmp_path):
    save(tmp_path / "d", [disc(48, 30, 10), disc(20, 20, 1.5), disc(75, 30, 24)])
    report = cut_chips(tmp_path / "d", tmp_path / "c", 50, [1.0, 0.5, 2.0], overlap=0.0)
    values = report.to_dict()
    assert values["chips_per_scale"] == [4, 1, 12] and values["chips"] == 17
    assert values["lost"] == 0  # at scale 2 the small one is 6 px across
    assert {field.name for field in dataclasses.fields(report)} == set(values)
    assert json.loads(json.dumps(values)) == values
