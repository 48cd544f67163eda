"""Instance masks beside images."""

import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from crater_model.annotations.coco import parse
from crater_model.importing.dataset import import_dataset
from crater_model.importing.formats import masks
from crater_model.importing.formats.source import Notes, Source

SIZE = (60, 40)  # width, height


def save(path: Path, pixels, mode=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels), mode).save(path)
    return path


def save_tiff(path: Path, bands: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=count,
                           dtype=bands.dtype, photometric="rgb" if count == 3 else "minisblack"
                           ) as file:
            file.write(bands)
    return path


def picture(path: Path, size=SIZE) -> Path:
    return save(path, np.full(size[::-1], 90, np.uint8))


def disc(x, y, rx, ry=None, size=SIZE) -> np.ndarray:
    """bool [h, w], True within the ellipse."""
    yy, xx = np.mgrid[:size[1], :size[0]] + 0.5
    return ((xx - x) / rx) ** 2 + ((yy - y) / (ry or rx)) ** 2 < 1


def read(folder: Path, images=None):
    """{image: [labels]} by the images' paths below the folder, and the notes."""
    source, notes = Source(folder, images), Notes()
    files = masks.recognise(source)
    assert files
    reading = masks.read(source, files, notes)
    return {str(image.path.relative_to(source.image_root)): image.labels
            for image in reading.images}, notes


def shape(label) -> shapely.Geometry:
    return shapely.union_all([shapely.Polygon(ring) for ring in label.rings])


def assert_is(label, inside: np.ndarray, name="crater") -> None:
    """The label's outline runs along the edge of the mask, at most 1/8 px inside it."""
    found, (ys, xs) = shape(label), np.nonzero(inside)
    assert found.bounds == pytest.approx(
        (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1), abs=0.13)
    assert inside.sum() - found.length / 8 - 0.1 <= found.area <= inside.sum() + 0.1
    assert (label.name, label.source) == (name, "mask")


ONE, TWO, THREE = disc(20, 12, 15, 8), disc(48, 30, 6), disc(10, 34, 5, 3)


def test_a_file_for_each_crater(tmp_path):
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "images" / "a_1.png")
    picture(tmp_path / "images" / "b.jpg")
    save(tmp_path / "masks" / "a_annot0.png", ONE.astype(np.uint8) * 255)
    save(tmp_path / "masks" / "A-2.png", TWO)  # one bit
    save(tmp_path / "masks" / "a_1_7.png", THREE.astype(np.uint8))  # 0 and 1
    save_tiff(tmp_path / "masks" / "b" / "x.tif", np.where(TWO, 40000, 3).astype(np.uint16)[None]
              - np.uint16(3))
    labels, notes = read(tmp_path)
    assert list(labels) == ["images/a.png", "images/a_1.png", "images/b.jpg"]
    assert_is(labels["images/a.png"][0], TWO)
    assert_is(labels["images/a.png"][1], ONE)
    assert_is(labels["images/a_1.png"][0], THREE)
    assert_is(labels["images/b.jpg"][0], TWO)
    assert labels["images/b.jpg"][0].where == "masks/b/x.tif"
    assert not notes.problems and not notes.warnings


def test_soft_edges_are_cut_at_half_of_the_brightest(tmp_path):
    picture(tmp_path / "a.png")
    values = np.zeros(SIZE[::-1], np.uint8)
    values[10:20, 5:45] = 200
    values[10:20, 45], values[10:20, 46] = 101, 100
    save(tmp_path / "mask" / "a_0.png", values)
    labels, _ = read(tmp_path)
    assert_is(labels["a.png"][0], values > 100)


def test_a_crater_of_several_patches(tmp_path):
    picture(tmp_path / "a.png")
    save(tmp_path / "masks" / "a_0.png", (ONE | TWO).astype(np.uint8) * 255)
    (label,) = read(tmp_path)[0]["a.png"]
    assert len(label.rings) == 2
    assert_is(label, ONE | TWO)


LABELLED = np.zeros(SIZE[::-1], np.int32)
LABELLED[ONE], LABELLED[THREE], LABELLED[TWO] = 3, 250, 7


def _colours() -> np.ndarray:
    colours = np.zeros((*LABELLED.shape, 3), np.uint8)
    colours[LABELLED == 3] = 255, 0, 0
    colours[LABELLED == 7] = 0, 255, 0
    colours[LABELLED == 250] = 1, 2, 3
    return colours


def _palette(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(LABELLED.astype(np.uint8), "P")
    image.putpalette([255 - v // 3 for v in range(768)])
    image.save(path)
    return path


@pytest.mark.parametrize("write, names", [
    (lambda d: save(d / "a.png", LABELLED.astype(np.uint8)), ["value 3", "value 7", "value 250"]),
    (lambda d: save(d / "a.png", (LABELLED * 200).astype(np.uint16)),
     ["value 600", "value 1400", "value 50000"]),
    (lambda d: save(d / "a_mask.png", np.repeat(LABELLED[..., None], 3, 2).astype(np.uint8)),
     ["value 3", "value 7", "value 250"]),
    (lambda d: save_tiff(d / "a.tif", (LABELLED * 1000)[None]),
     ["value 3000", "value 7000", "value 250000"]),
    (lambda d: save_tiff(d / "A_Labels.TIFF", np.moveaxis(_colours(), -1, 0)),
     ["colour #ff0000", "colour #00ff00", "colour #010203"]),
    (lambda d: save(d / "a.png", _colours()),
     ["colour #ff0000", "colour #00ff00", "colour #010203"]),
    (lambda d: _palette(d / "a.png"), ["value 3", "value 7", "value 250"]),
], ids=["8 bit", "16 bit", "grey as RGB", "TIFF 32 bit", "TIFF RGB", "PNG RGB", "palette"])
def test_labelled_rasters(tmp_path, write, names):
    picture(tmp_path / "images" / "a.png")
    path = write(tmp_path / "Labels")
    labels, notes = read(tmp_path)
    found = {label.where: label for label in labels["images/a.png"]}
    where = path.relative_to(tmp_path)
    for name, inside in zip(names, (ONE, TWO, THREE), strict=True):
        assert_is(found.pop(f"{where}: {name}"), inside)
    assert not found and not notes.problems and not notes.warnings


def test_transparent_pixels_are_background(tmp_path):
    picture(tmp_path / "a.png")
    pixels = np.full((*LABELLED.shape, 4), 255, np.uint8)
    pixels[..., 3] = ONE * 255
    save(tmp_path / "gt" / "a.png", pixels)
    assert_is(read(tmp_path)[0]["a.png"][0], ONE)


def test_a_crater_in_a_crater(tmp_path):
    picture(tmp_path / "a.png")
    inner = disc(20, 12, 4)
    save(tmp_path / "masks" / "a.png", np.where(inner, 2, ONE).astype(np.uint8))
    outer, small = read(tmp_path)[0]["a.png"]
    assert_is(outer, ONE)  # without the hole
    assert_is(small, inner)


@pytest.mark.parametrize("value", [1, 255])
def test_one_value_for_all_craters(tmp_path, value):
    picture(tmp_path / "a.png")
    save(tmp_path / "masks" / "a.png", ((ONE | TWO | THREE) * value).astype(np.uint8))
    labels, notes = read(tmp_path)
    assert len(labels["a.png"]) == 3
    for label, inside in zip(sorted(labels["a.png"], key=lambda l: -shape(l).area),
                             (ONE, TWO, THREE)):
        assert_is(label, inside)
    assert notes.warnings == ["1 mask(s) have one value for all craters; each patch was taken for "
                              "one, first: masks/a.png"]


def test_soft_edges_are_no_craters_of_their_own(tmp_path):
    size = 240, 160
    picture(tmp_path / "a.png", size)
    large = (disc(80, 48, 60, 32, size) | disc(192, 120, 24, 24, size)).astype(np.uint8) * 255
    soft = np.asarray(Image.fromarray(large).resize(SIZE, Image.Resampling.BOX))
    assert len(np.unique(soft)) > 10
    picture(tmp_path / "a.png")
    save(tmp_path / "masks" / "a.png", soft)
    labels, notes = read(tmp_path)
    assert len(labels["a.png"]) == 2 and len(notes.warnings) == 1
    assert_is(labels["a.png"][0], (soft > 127) & (np.arange(60) < 36))


def test_an_empty_raster_is_an_image_without_craters(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "unlabelled.png")
    save(tmp_path / "masks" / "a.png", np.zeros(SIZE[::-1], np.uint8))
    labels, notes = read(tmp_path)
    assert labels == {"a.png": []}
    assert notes.warnings == ["1 mask(s) are 0 everywhere: images without craters, first: "
                              "masks/a.png", "1 image(s) have no mask and were left out, first: "
                              "unlabelled.png"]


def test_folders_of_splits_and_of_single_images(tmp_path):
    for split in "train", "val":
        picture(tmp_path / split / "images" / "a.png")
        save(tmp_path / split / "masks" / "a_1.png", ONE if split == "val" else TWO)
    picture(tmp_path / "9f" / "images" / "9f.png")
    save(tmp_path / "9f" / "masks" / "77.png", THREE)
    source, notes = Source(tmp_path), Notes()
    reading = masks.read(source, masks.recognise(source), notes)
    assert [(image.path.parts[-3], image.split) for image in reading.images] == [
        ("9f", None), ("train", "train"), ("val", "validation")]
    for image, inside in zip(reading.images, (THREE, TWO, ONE)):
        assert_is(image.labels[0], inside)


def test_images_named_apart(tmp_path):
    picture(tmp_path / "pictures" / "labels" / "a.png")
    save(tmp_path / "outlines" / "a_1.png", ONE)
    labels, _ = read(tmp_path / "outlines", tmp_path / "pictures")
    assert_is(labels["labels/a.png"][0], ONE)
    shutil.move(tmp_path / "outlines", tmp_path / "masks")
    labels, _ = read(tmp_path, tmp_path / "pictures" / "labels")
    assert_is(labels["a.png"][0], ONE)


def test_masks_are_never_images(tmp_path):
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "b.png")
    save(tmp_path / "in" / "masks" / "a.png", ONE)
    save(tmp_path / "in" / "masks" / "b" / "b.png", TWO)
    save(tmp_path / "in" / "masks" / "b" / "preview.jpg", TWO.astype(np.uint8))
    report = import_dataset(tmp_path / "in", tmp_path / "out")
    assert (report.format, report.images, report.instances) == ("masks", 2, 2)
    assert sorted(p.name for p in (tmp_path / "out" / "images").iterdir()) == ["a.png", "b.png"]


def test_recognises_only_masks_of_images(tmp_path):
    picture(tmp_path / "a.png")
    save(tmp_path / "other" / "a_1.png", ONE)
    assert masks.recognise(Source(tmp_path)) == []
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    save(tmp_path / "labels" / "preview.png", ONE)
    assert masks.recognise(Source(tmp_path)) == []
    save(tmp_path / "labels" / "a.png", ONE)
    assert [p.name for p in masks.recognise(Source(tmp_path))] == ["a.png", "preview.png"]


def noise(values: int, size=(500, 400)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, values, size[::-1]).astype(np.uint16)


@pytest.mark.parametrize("name, pixels, size, word", [
    ("a_1", np.zeros((40, 60), np.uint8), SIZE, "marks no pixel"),
    ("a_1", np.full((40, 60), 255, np.uint8), SIZE, "no background"),
    ("a", np.full((40, 60), 999, np.uint16), SIZE, "no background"),
    ("a", LABELLED.astype(np.uint8) + 1, SIZE, "no background"),
    ("a_1", np.zeros((60, 40), np.uint8), SIZE, "is 40x60 px, but its image has 60x40 px"),
    ("b_1", ONE, SIZE, "is the mask of no image"),
    ("a", noise(65000), (500, 400), "spread all over"),
    ("a", np.indices((800, 1600)).prod(0).astype(np.uint8) % 2, (1600, 800), "at most 100000"),
])
def test_what_cannot_be_used_is_named(tmp_path, name, pixels, size, word):
    picture(tmp_path / "a.png", size)
    picture(tmp_path / "c.png")
    save(tmp_path / "masks" / "c_1.png", TWO)
    save(tmp_path / "masks" / f"{name}.png", pixels)
    start = time.perf_counter()
    labels, notes = read(tmp_path)
    assert time.perf_counter() - start < 5
    assert list(labels) == ["c.png"] and len(notes.problems) == 1
    assert notes.problems[0].startswith(f"masks/{name}.png") and word in notes.problems[0]
    assert "\n" not in notes.problems[0]


def test_real_valued_masks_and_other_files(tmp_path):
    picture(tmp_path / "a.png")
    save_tiff(tmp_path / "masks" / "a_1.tif", ONE.astype(np.float32)[None])
    save_tiff(tmp_path / "masks" / "a_2.tif", np.repeat(ONE[None].astype(np.uint8), 5, 0))
    save_tiff(tmp_path / "masks" / "a.tif", -LABELLED.astype(np.int16)[None])
    save(tmp_path / "masks" / "a_3.jpg", ONE).rename(tmp_path / "masks" / "a_3.png")
    (tmp_path / "masks" / "a_4.png").write_bytes(b"")
    whole = save(tmp_path / "masks" / "a_5.png", np.random.default_rng(0).integers(
        0, 255, SIZE[::-1], np.uint8)).read_bytes()
    (tmp_path / "masks" / "a_5.png").write_bytes(whole[:len(whole) // 2])
    labels, notes = read(tmp_path)
    assert not labels and len(notes.problems) == 6
    text = dict(problem.split(" ", 1) for problem in notes.problems)
    assert "float32" in text["masks/a_1.tif"] and "5 band(s)" in text["masks/a_2.tif"]
    assert "has values from -250 to 0" in text["masks/a.tif"]
    assert "is a JPEG file" in text["masks/a_3.png"]
    assert "cannot be" in text["masks/a_4.png"] and "cannot be read" in text["masks/a_5.png"]


def test_two_images_of_a_name(tmp_path):
    picture(tmp_path / "x" / "a.png")
    picture(tmp_path / "y" / "a.png")
    save(tmp_path / "masks" / "a_1.png", ONE)
    labels, notes = read(tmp_path)
    assert not labels and "there are 2 images of that name" in notes.problems[0]


@pytest.mark.slow
def test_large_masks_take_bounded_memory(tmp_path):
    """8192x8192 px in 24-bit colours with one crater of 2800 px and 500 of 20 px."""
    side = 8192
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=side, height=side,
                           count=1, dtype="uint8", compress="deflate", sparse_ok=True):
            pass
        (tmp_path / "masks").mkdir()
        with rasterio.open(tmp_path / "masks" / "a.tif", "w", driver="GTiff", width=side,
                           height=side, count=3, dtype="uint8", compress="deflate",
                           photometric="rgb", sparse_ok=True, tiled=True) as file:
            file.write(np.full((1, 2800, 2800), 255, np.uint8), [1],
                       window=rasterio.windows.Window(100, 200, 2800, 2800))
            for i in range(500):
                file.write(np.full((1, 20, 20), 1 + i % 250, np.uint8), [2 + i // 250],
                           window=rasterio.windows.Window(16 * i, 4000 + 8 * i, 20, 20))
    # The peak is read where a new process does not start with its parent's.
    code = ("import sys\n"
            "from crater_model.importing.formats import masks\n"
            "from crater_model.importing.formats.source import Notes, Source\n"
            "source, notes = Source(sys.argv[1]), Notes()\n"
            "labels = masks.read(source, masks.recognise(source), notes).images[0].labels\n"
            "print(len(labels), len(notes.problems),\n"
            "      open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n")
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True,
                          cwd=Path(__file__).parents[3], timeout=60)
    assert done.returncode == 0, done.stderr
    count, problems, peak_kb = map(int, done.stdout.split())
    assert count > 500 and problems == 0 and peak_kb < 1_000_000


def test_the_original_systems_masks(real_data, tmp_path):
    """As many px as the masks have above 127, and within 3 % of the outlines that were made
    from them elsewhere, by a contour that lost that much; img0's mask has soft edges."""
    folder = real_data / "divdet_fixtures"
    for name in "images", "masks":
        shutil.copytree(folder / name, tmp_path / name)
    labels, notes = read(tmp_path)
    assert not notes.problems and not notes.warnings
    known = {scene.file_name: scene.instances for scene in parse(folder).dataset.scenes}
    for name, instances in known.items():
        found = sorted(shape(label).area for label in labels[f"images/{name}"])
        wanted = sorted(instance.area for instance in instances)
        assert found == pytest.approx(wanted, rel=0.03) and len(found) == len(wanted)
        masks = (folder / "masks").glob(f"{name[:4]}_*.png")
        assert found == sorted((np.asarray(Image.open(p)) > 127).sum() for p in masks)
    pixels = np.asarray(Image.open(folder / "masks" / "img0_annot0.png"))
    assert_is(labels["images/img0.png"][0], pixels > 127)
