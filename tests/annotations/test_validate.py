"""Every kind of bad data gives one clear line that names it."""

import json

import numpy as np
import pytest
import rasterio
from PIL import Image

from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.scene import Scene
from crater_model.annotations.validate import check_dataset
from crater_model.errors import DataError


def edit(change):
    """A change to the labels, as a change to the folder."""
    def apply(folder):
        path = folder / "annotations.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return apply


def annotation(**values):
    return edit(lambda d: d["annotations"][1].update(values))


def image(**values):
    return edit(lambda d: d["images"][1].update(values))


def cut_short(folder):
    path = folder / "images" / "scene_002.png"
    path.write_bytes(path.read_bytes()[:2000])


def not_an_image(folder):
    (folder / "images" / "scene_002.png").write_text("hello")


def sixteen_bit(folder):
    Image.fromarray(np.full((64, 96), 4000, np.uint16)).save(folder / "images" / "scene_002.png")


def images_is_a_file(folder):
    (folder / "images").rename(folder / "elsewhere")
    (folder / "images").write_text("")


def image_is_a_folder(folder):
    (folder / "images" / "scene_002.png").unlink()
    (folder / "images" / "scene_002.png").mkdir()


def two_splits(document):
    document["images"][0].update(scene="mosaic", split="train")
    document["images"][1].update(scene="mosaic", split="test")


BAD = {
    "missing image": (lambda f: (f / "images" / "scene_002.png").unlink(),
                      "images/scene_002.png: is missing, but annotations.json lists it as image 2"),
    "image is a folder": (image_is_a_folder, "scene_002.png: is not a file"),
    "images is a file": (images_is_a_file, "images: is a file, expected the folder"),
    "cut short": (cut_short, "scene_002.png: cannot be read as an image"),
    "not an image": (not_an_image, "scene_002.png: cannot be read as an image (not an image)"),
    "16 bit": (sixteen_bit, "scene_002.png: has more than 8 bits a pixel (I;16), expected 8-bit"),
    "size": (image(width=95, height=90),
             "scene_002.png: is 96x64 px, but annotations.json says 95x90"),
    "no labels file": (lambda f: (f / "annotations.json").unlink(),
                       "annotations.json: cannot be read (No such file or directory)"),
    "broken json": (lambda f: (f / "annotations.json").write_text('{"images": ['),
                    "annotations.json: is not JSON"),
    "not coco": (lambda f: (f / "annotations.json").write_text("[]"),
                 "has no list 'images' nor 'annotations' nor 'categories'"),
    "no images": (edit(lambda d: d.update(images=[], annotations=[])), "lists no image"),
    "outside": (annotation(segmentation=[[90, 20, 108.5, 20, 100, 30]]),
                "annotation 2 (image scene_001.png) has an outline that leaves its image by "
                "12.5 px (x 90 to 108.5, y 20 to 30, image 96x64 px)"),
    "two points": (annotation(segmentation=[[1, 2, 30, 40]]),
                   "annotation 2 (image scene_001.png) has a polygon of 2 point(s), expected at "
                   "least 3"),
    "odd": (annotation(segmentation=[[1, 2, 30, 40, 5, 6, 7]]), "not a list x1, y1, x2, y2"),
    "words": (annotation(segmentation=[["a", "b"]]), "not a list x1, y1, x2, y2"),
    "no outline": (annotation(segmentation=[]), "has no outline"),
    "line": (annotation(segmentation=[[1, 1, 5, 5, 9, 9]]), "encloses no area"),
    "not finite": (annotation(segmentation=[[1, 2, float("nan"), 4, 8, 9]]), "not finite"),
    "rle": (annotation(segmentation={"size": [64, 96], "counts": [5]}),
            "has a run-length mask that cannot be decoded (its runs do not add up)"),
    "rle size": (annotation(segmentation={"size": [96, 64], "counts": [6144]}),
                 "run-length mask of size [96, 64] (height, width), expected [64, 96]"),
    "category": (annotation(category_id=9),
                 "annotation 2 (image scene_001.png) has the unknown category 9, expected one of "
                 "1 (crater)"),
    "unknown image": (annotation(image_id=99), "annotation 2 is of image 99, which is not listed"),
    "twin annotation": (annotation(id=1), "annotation 1 (image scene_001.png) has the id of"),
    "twin image": (image(id=1), "image id 1 is there twice (scene_001.png and scene_002.png)"),
    "twin name": (image(file_name="scene_001.png"), "image scene_001.png is listed twice"),
    "text id": (image(id="two"), "image scene_002.png has the id 'two', expected a whole number"),
    "escape": (image(file_name="../../x.png"), "image ../../x.png lies outside images/"),
    "split": (image(split="holdout"), "image scene_002.png has the split 'holdout'"),
    "scale": (image(scale=0), "image scene_002.png has the scale 0, expected a number above 0"),
    "leak": (edit(two_splits), "scene mosaic has images in the splits test and train"),
    "gap": (edit(lambda d: d["categories"].append({"id": 5, "name": "rock"})),
            "category ids are 1, 5, expected 1, 2, ... without a gap"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_gives_one_line_that_names_it(tiny_dataset, name):
    spoil, expected = BAD[name]
    spoil(tiny_dataset)
    problems = check_dataset(tiny_dataset).problems
    found = [text for text in problems if expected in text]
    assert len(found) == 1, problems
    assert "\n" not in found[0] and str(tiny_dataset) in found[0]
    if name != "cut short":  # that is only seen by decoding
        with pytest.raises(DataError) as error:
            load_dataset(tiny_dataset)
        assert str(error.value).startswith(problems[0])
    else:
        dataset = load_dataset(tiny_dataset)
        with pytest.raises(DataError, match="scene_002.png: cannot be read as an image"):
            dataset.read_image(dataset.scenes[1])


def test_the_folder_itself_is_named(tmp_path):
    assert "nowhere: does not exist" in check_dataset(tmp_path / "nowhere").problems[0]
    (tmp_path / "file").write_text("")
    assert "file: is a file, expected a data-set folder" in check_dataset(
        tmp_path / "file").problems[0]


def test_all_problems_are_found_and_counted(tiny_dataset):
    annotation(category_id=9)(tiny_dataset)
    image(id=1)(tiny_dataset)
    problems = check_dataset(tiny_dataset).problems
    assert len(problems) == 1 + 1 + 6  # the image's six annotations have lost it
    with pytest.raises(DataError, match=r"\(and 7 more\)$"):
        load_dataset(tiny_dataset)


def test_a_good_data_set_is_described(tiny_dataset):
    report = check_dataset(tiny_dataset)
    assert report.ok and not report.warnings
    found = report.statistics
    assert (found["images"], found["instances"], found["empty_images"]) == (6, 25, 1)
    assert found["classes"] == {"crater": 25} and found["image_sizes"] == {"96x64": 6}
    assert found["craters_per_image"]["max"] == 7 and found["craters_per_image"]["min"] == 0
    assert 6 < found["diameter_px"]["min"] < found["diameter_px"]["max"] < 18
    assert found["fingerprint"] == load_dataset(tiny_dataset).fingerprint
    assert json.loads(report.to_json())["statistics"] == found


def test_rounding_is_clipped_and_counted(tiny_dataset):
    annotation(segmentation=[[90, -0.5, 96.75, 0, 96.75, 20, 90, 20]])(tiny_dataset)
    report = check_dataset(tiny_dataset)
    assert report.ok
    assert "1 outline(s) left the image by up to 1 px and were clipped" in report.warnings[0]
    found = load_dataset(tiny_dataset).scenes[0].instances[1]
    assert found.box == (0.0, 90.0, 20.0, 96.0)


def test_a_crossed_outline_is_repaired_and_counted(tiny_dataset):
    annotation(segmentation=[[10, 10, 30, 10, 10, 30, 30, 30]])(tiny_dataset)
    report = check_dataset(tiny_dataset)
    assert report.ok and "1 outline(s) crossed themselves" in report.warnings[0]
    found = load_dataset(tiny_dataset).scenes[0].instances[1]
    assert len(found.rings) == 2 and found.area == pytest.approx(200)


def test_oddities_are_warned_of(tiny_dataset):
    images = tiny_dataset / "images"
    (images / "scene_002.png").write_bytes((images / "scene_001.png").read_bytes())
    (images / "stray.png").write_bytes(b"")
    text = "\n".join(check_dataset(tiny_dataset).warnings)
    assert "scene_001.png = scene_002.png" in text and "stray.png" in text


def change(folder, number, **values):
    """Sets values of one image's entry."""
    edit(lambda d: d["images"][number].update(values))(folder)


def test_what_labels_are_is_counted(tiny_dataset):
    annotation(label_source="circle", diameter_km=2.5)(tiny_dataset)
    change(tiny_dataset, 0, split="train",
           stretch={"low": 10, "high": 4000, "percentiles": [0.5, 99.5]})
    change(tiny_dataset, 3, split="test",
           stretch={"low": 12, "high": 5000, "percentiles": [0.5, 99.5]})
    change(tiny_dataset, 4, stretch={"low": 0, "high": 1, "percentiles": [2, 98]})
    report = check_dataset(tiny_dataset)
    found = report.statistics
    assert report.ok and report.warnings == [] and report.look_alikes == []
    assert found["label_sources"] == {"outline": 24, "circle": 1}
    assert found["diameter_km"]["min"] == found["diameter_km"]["max"] == 2.5
    assert found["splits"] == {"train": 1, "test": 1, "undecided": 4}
    assert found["stretched"] == {"0.5 to 99.5 %": 2, "2 to 98 %": 1}
    assert (found["duplicates"], found["look_alikes"], found["overlapping"]) == (0, 0, 0)
    assert found["compared"] == "whole images and parts"


def test_diameters_are_measured_on_the_ground(tiny_dataset):
    change(tiny_dataset, 0, georeference={
        "crs": "+proj=eqc +R=1737400 +units=m", "transform": [250, 0, 0, 0, -250, 8000]})
    report = check_dataset(tiny_dataset)
    scene = load_dataset(tiny_dataset).scenes[0]
    expected = [i.diameter * 0.25 for i in scene.instances]  # 250 m a px near the equator
    found = report.statistics["diameter_km"]
    assert found["min"] == pytest.approx(min(expected), rel=0.01)
    assert found["max"] == pytest.approx(max(expected), rel=0.01)


def test_labels_of_one_crater_are_named(tiny_dataset):
    def twice(document):
        first = document["annotations"][4]
        document["annotations"] += [{**first, "id": 90}, {**document["annotations"][0], "id": 91}]
    edit(twice)(tiny_dataset)
    report = check_dataset(tiny_dataset)
    assert report.ok and report.statistics["duplicates"] == 2
    text, = report.warnings
    assert ("2 pair(s) of labels mark the same crater twice (annotations 1 and 91 of "
            "scene_001.png, annotations 5 and 90 of scene_002.png)") in text


def copy_of_first(folder):
    """Makes the fourth image the first one, darker and mirrored."""
    images = folder / "images"
    pixels = np.asarray(Image.open(images / "scene_001.png"))
    Image.fromarray(pixels[:, ::-1] // 2 + 20).save(images / "scene_004.png")


def test_look_alikes_are_named(tiny_dataset):
    copy_of_first(tiny_dataset)
    report = check_dataset(tiny_dataset)
    assert report.ok and report.statistics["look_alikes"] == 2
    text, = report.warnings
    assert ("2 image(s) look like an image of another scene (scene_001.png and scene_004.png)"
            in text)
    (one, other, likeness), = report.look_alikes
    assert (one, other) == ("scene_001.png", "scene_004.png") and 0.9 < likeness <= 1
    assert json.loads(report.to_json())["look_alikes"] == [[one, other, likeness]]


def test_near_duplicates_across_splits_come_first(tiny_dataset):
    copy_of_first(tiny_dataset)
    change(tiny_dataset, 0, split="train")
    change(tiny_dataset, 3, split="train")
    assert "ACROSS" not in "".join(check_dataset(tiny_dataset).warnings)
    change(tiny_dataset, 3, split="test")
    first, second = check_dataset(tiny_dataset).warnings
    assert "NEAR-DUPLICATES ACROSS SPLITS: 1 group(s)" in first
    assert "(scene_001.png in train and scene_004.png in test)" in first
    assert "look like" in second


def test_overlaps_on_the_map_are_named(tiny_dataset):
    for number, x in ((0, 0), (1, 9300), (2, 9700)):  # the images are 9600 m wide
        change(tiny_dataset, number, georeference={
            "crs": "+proj=eqc +R=1737400 +units=m", "transform": [100, 0, x, 0, -100, 0]})
    change(tiny_dataset, 0, split="validation")
    change(tiny_dataset, 2, split="train")
    report = check_dataset(tiny_dataset)
    assert report.statistics["overlapping"] == 2 + 1 and report.statistics["look_alikes"] == 0
    torn, overlap = report.warnings
    assert ("3 image(s) overlap an image of another scene on the map (scene_001.png and "
            "scene_002.png, scene_002.png and scene_003.png)") in overlap
    assert "(scene_001.png in validation and scene_003.png in train)" in torn


def test_scenes_that_are_tiff_are_read_to_their_end(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 256, (700, 900), np.uint8)
    path = tmp_path / "d" / "images" / "a.tif"

    def write(path):
        with rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=1, width=900, height=700,
                           tiled=True, blockxsize=256, blockysize=256, compress="deflate") as out:
            out.write(pixels, 1)
    save_dataset(tmp_path / "d", [(Scene(1, "a.tif", 900, 700), write),
                                  (Scene(2, "b.png", 40, 30), pixels[:30, :40])], {1: "crater"})
    report = check_dataset(tmp_path / "d")
    assert report.problems == [] and report.statistics["images"] == 2
    data = bytearray(path.read_bytes())
    data[-40_000:-20_000] = bytes(20_000)
    path.write_bytes(data)
    problem, = check_dataset(tmp_path / "d").problems
    assert problem.startswith(f"{path}: cannot be read as an image")


def test_a_data_set_without_labels_is_warned_of(tmp_path, make_dataset):
    report = check_dataset(make_dataset(tmp_path / "d", craters=(0, 0)))
    assert report.ok and "nothing to learn" in report.warnings[0]
    assert report.statistics["diameter_px"] is None
    assert report.statistics["empty_images"] == 2


@pytest.mark.parametrize("name, images, instances", [
    ("moon_nac_train", 12, 13449), ("moon_dem_train", 160, 7254), ("mars_boxes_hirise", 119, 632),
    ("divdet_fixtures", 2, 4)])
def test_real_imagery_has_no_problem(checked, name, images, instances):
    report = checked(name)
    assert report["problems"] == []
    found = report["statistics"]
    assert (found["images"], found["instances"]) == (images, instances)
