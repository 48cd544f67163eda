"""Any labelled images into the data-set form, as a whole."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.validate import check_dataset
from crater_model.errors import ConfigError, DataError, DataProblems
from crater_model.importing.dataset import NAMES, import_dataset, source_stamp

WIDTH, HEIGHT = 96, 64


def coco(folder, images, annotations, categories=({"id": 7, "name": "crater"},)):
    """Writes labels.json; images and annotations as (name, ...) and (image, ring) pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "images": [{"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT}
                   for i, name in enumerate(images)],
        "annotations": [{"id": i, "image_id": image, "category_id": categories[0]["id"],
                         "segmentation": [np.asarray(ring, float).ravel().tolist()]}
                        for i, (image, ring) in enumerate(annotations)],
        "categories": list(categories)}
    (folder / "labels.json").write_text(json.dumps(document))
    return folder


def write_image(path, seed=0, depth=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, np.iinfo(depth).max, (HEIGHT, WIDTH))
    cv2.imwrite(str(path), values.astype(depth))
    return values.astype(depth)


BOX = [(10, 5), (35, 5), (40, 25), (15, 25)]


@pytest.fixture
def source(tmp_path):
    folder = coco(tmp_path / "source", ["a.png", "deep.png", "empty.jpg"], [(0, BOX), (1, BOX)])
    write_image(folder / "pictures/a.png")
    write_image(folder / "pictures/deep.png", 1, np.uint16)
    write_image(folder / "pictures/empty.jpg", 2)
    return folder


def test_images_of_all_kinds_and_labels_arrive(source, tmp_path):
    report = import_dataset(source, tmp_path / "out")
    assert (report.format, report.label_files, report.images, report.instances,
            report.empty_images, report.stretched) == ("coco", 1, 3, 2, 1, 1)
    assert report.label_map == {1: "crater"} and report.label_sources == {"outline": 2}
    assert not report.problems and not report.warnings
    dataset = load_dataset(tmp_path / "out")
    assert [s.file_name for s in dataset.scenes] == ["a.png", "deep.tif", "empty.jpg"]
    assert dataset.scenes[0].instances[0].box == (5, 10, 25, 40)
    # What has 8 bits passes through untouched, what has more is stretched and says how.
    assert (tmp_path / "out/images/a.png").read_bytes() == (
        source / "pictures/a.png").read_bytes()
    values = cv2.imread(str(source / "pictures/deep.png"), cv2.IMREAD_UNCHANGED).astype(float)
    low, high = np.percentile(values, (0.5, 99.5))
    stretch = dataset.scenes[1].stretch
    assert (stretch.low, stretch.high, stretch.percentiles) == (
        pytest.approx(low), pytest.approx(high), (0.5, 99.5))
    expected = 1 + 254 * np.clip((values - low) / (high - low), 0, 1)
    assert np.abs(dataset.read_image(dataset.scenes[1]) - expected).max() <= 0.51
    assert dataset.info["format"] == "coco" and len(dataset.info["label_files_sha256"]) == 64
    assert check_dataset(tmp_path / "out").ok


def test_importing_twice_gives_the_same_bytes(source, tmp_path):
    for name in ("one", "two"):
        import_dataset(source, tmp_path / name)
    assert load_dataset(tmp_path / "one").fingerprint == load_dataset(tmp_path / "two").fingerprint


def test_a_zip_a_file_and_a_folder_of_images_apart(source, tmp_path):
    import_dataset(source, tmp_path / "whole")
    whole = load_dataset(tmp_path / "whole")
    shutil.make_archive(str(tmp_path / "packed"), "zip", source)
    import_dataset(tmp_path / "packed.zip", tmp_path / "from_zip")
    import_dataset(source / "labels.json", tmp_path / "from_file")
    shutil.copytree(source / "pictures", tmp_path / "elsewhere")
    shutil.copy(source / "labels.json", tmp_path / "l.json")
    import_dataset(tmp_path / "l.json", tmp_path / "apart", images=tmp_path / "elsewhere")
    for name in ("from_zip", "from_file", "apart"):
        found = load_dataset(tmp_path / name)
        assert [s.file_name for s in found.scenes] == [s.file_name for s in whole.scenes]
        assert [s.instances[0].area for s in found.scenes[:2]] == [500, 500]


def test_problems_refuse_the_source_or_are_left_out(source, tmp_path):
    far = np.add(BOX, 500)
    coco(source, ["a.png", "deep.png", "empty.jpg", "gone.png"], [(0, BOX), (0, far), (2, BOX)])
    (source / "pictures/empty.jpg").write_bytes(
        (source / "pictures/empty.jpg").read_bytes()[:400])
    with pytest.raises(DataProblems, match="and 1 more.*--skip-bad") as caught:
        import_dataset(source, tmp_path / "out")
    assert any("gone.png" in line for line in caught.value.problems)
    assert any("outside its image" in line for line in caught.value.problems)
    assert not (tmp_path / "out").exists()
    report = import_dataset(source, tmp_path / "out", skip_bad=True)
    assert (report.images, report.instances) == (2, 1)
    assert len(report.problems) == 3 and any("empty.jpg" in line for line in report.problems)
    assert load_dataset(tmp_path / "out").info["left_out"] == report.problems
    assert check_dataset(tmp_path / "out").ok


def test_what_shows_only_while_writing_is_kept_with_the_data(source, tmp_path):
    cv2.imwrite(str(source / "pictures/a.png"), np.full((HEIGHT, WIDTH), 7, np.uint8))
    report = import_dataset(source, tmp_path / "out")
    assert len(report.warnings) == 1 and "one value everywhere" in report.warnings[0]
    assert load_dataset(tmp_path / "out").info["warnings"] == report.warnings


def test_nothing_usable_is_refused_even_when_skipping(source, tmp_path):
    for path in (source / "pictures").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataProblems, match="no image is left to import"):
        import_dataset(source, tmp_path / "out", skip_bad=True)
    assert not (tmp_path / "out").exists()


def test_an_older_data_set_stays_until_the_new_one_is_whole(source, tmp_path):
    import_dataset(source, tmp_path / "out")
    before = load_dataset(tmp_path / "out").fingerprint
    (source / "pictures/a.png").unlink()
    with pytest.raises(DataProblems):
        import_dataset(source, tmp_path / "out")
    assert load_dataset(tmp_path / "out").fingerprint == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.doc").write_text("mine")
    write_image(source / "pictures/a.png")
    with pytest.raises(Exception, match="holds other files"):
        import_dataset(source, tmp_path / "other")


def test_a_georeference_comes_along_and_gives_km(tmp_path):
    folder = coco(tmp_path / "source", ["a.tif"], [(0, BOX)])
    values = np.random.default_rng(0).normal(0, 1000, (HEIGHT, WIDTH)).astype(np.float32)
    values[:, :8] = -3.4028226550889045e38
    with rasterio.open(folder / "a.tif", "w", driver="GTiff", dtype="float32", count=1,
                       width=WIDTH, height=HEIGHT, crs="IAU_2015:30110",
                       transform=from_origin(0, 0, 100, 100)) as out:
        out.write(values[None])
    import_dataset(folder, tmp_path / "out", percentiles=(2, 98))
    (scene,) = load_dataset(tmp_path / "out").scenes
    # 500 px of 100 x 100 m have the area of a circle of 2.523 km.
    assert scene.instances[0].diameter_km == pytest.approx(2.523, abs=2e-3)
    assert scene.stretch.percentiles == (2, 98) and abs(scene.stretch.low) < 4000
    with load_dataset(tmp_path / "out").open_image(scene) as image:
        pixels, valid = image.read(0, 0, WIDTH, HEIGHT)
        assert image.georeference.transform == scene.georeference.transform
    assert not valid[:, :8].any() and valid[:, 8:].all() and not pixels[:, :8].any()


def test_names_stay_apart_and_below_the_data_set(tmp_path):
    folder = coco(tmp_path / "source", ["north/a.png", "north/a.tif", "south/a.png"],
                  [(0, BOX), (1, BOX), (2, BOX)])
    for number, name in enumerate(("north/a.png", "south/a.png")):
        write_image(folder / name, number)
    write_image(folder / "north/a.tif", 3, np.uint16)
    import_dataset(folder, tmp_path / "out")
    assert sorted(s.file_name for s in load_dataset(tmp_path / "out").scenes) == [
        "north/a_png.png", "north/a_tif.tif", "south/a.png"]


def test_wrong_requests_are_one_line(source, tmp_path):
    with pytest.raises(ConfigError, match="percentiles: got 99,1"):
        import_dataset(source, tmp_path / "out", percentiles=(99, 1))
    with pytest.raises(ConfigError, match=f"format: got 'word', expected one of {NAMES[0]}"):
        import_dataset(source, tmp_path / "out", format="word")
    with pytest.raises(DataError, match="absent: does not exist"):
        import_dataset(tmp_path / "absent", tmp_path / "out")
    with pytest.raises(DataError, match="holds no labels of the format cvat"):
        import_dataset(source, tmp_path / "out", format="cvat")
    (source / "labels.json").unlink()
    with pytest.raises(DataError, match="holds no labels of a known form, expected one of coco"):
        import_dataset(source, tmp_path / "out")
    shutil.rmtree(source / "pictures")
    with pytest.raises(DataError, match="holds no image, expected PNG"):
        import_dataset(source, tmp_path / "out")


def test_a_stamp_changes_with_the_source(source):
    before = source_stamp(source)
    assert source_stamp(source) == before
    write_image(source / "pictures/b.png", 9)
    assert source_stamp(source) != before
