"""Chips show what the scene shows, where it shows it, and lose no crater silently."""

import json

import numpy as np
import pytest
import shapely

from crater_model.annotations.chips import choose_scale, cut_chips, positions, resample
from crater_model.annotations.dataset import Instance, Scene, load_dataset, save_dataset
from crater_model.annotations.validate import check_dataset
from crater_model.errors import ConfigError, DataError


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
    (dict(size=64, min_diameter=0), "min_diameter: got 0")])
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
