"""Label Studio's exports, after its documentation; brush masks are packed here as it packs them."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from crater_model.errors import DataError
from crater_model.importing.formats import labelstudio
from crater_model.importing.formats.brush import decode_brush
from crater_model.importing.formats.source import Bad, Notes, Source

WIDTH, HEIGHT = 200, 80


def region(kind, value, name="crater", **more):
    return {"id": "r", "type": kind, "original_width": WIDTH, "original_height": HEIGHT,
            "image_rotation": 0, "value": {**value, kind: [name]}, **more}


ELLIPSE = region("ellipselabels", {"x": 30, "y": 50, "radiusX": 10, "radiusY": 15, "rotation": 90})
POLYGON = region("polygonlabels", {"points": [[10, 10], [20, 10], [20, 50]], "closed": True})


def write(folder, tasks, image="5b1c2d3e-a.png"):
    cv2.imwrite(str(folder / image), np.zeros((HEIGHT, WIDTH), np.uint8))
    (folder / "project.json").write_text(json.dumps(tasks))


def task(*sets, image="/data/upload/1/5b1c2d3e-a.png", **more):
    return {"id": 1, "data": {"image": image}, "annotations": list(sets), **more}


def read(folder):
    source, notes = Source(folder), Notes()
    files = labelstudio.recognise(source)
    assert files, "not recognised"
    return labelstudio.read(source, files, notes), notes


def box(ring):
    return [*ring.min(axis=0), *ring.max(axis=0)]


def pack(values: np.ndarray) -> list[int]:
    """Runs of equal bytes, and single ones now and then, as the tool packs them."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{n - 1:04b}" for n in (3, 5, 9, 16))
    place = 0
    while place < len(values):
        end = place
        while end < len(values) and values[end] == values[place] and end - place < 2**16:
            end += 1
        if end - place == 1 and place + 1 < len(values):
            bits += f"0{0:02b}{1:03b}" + "".join(f"{v:08b}" for v in values[place:place + 2])
            place += 2
        else:
            bits += f"1{3:02b}{end - place - 1:016b}{values[place]:08b}"
            place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i:i + 8], 2) for i in range(0, len(bits), 8)]


def rgba(mask):
    values = np.zeros((*mask.shape, 4), np.uint8)
    values[mask > 0] = (0, 87, 37, 255)
    return values.ravel()


def test_polygons_ellipses_and_turned_boxes(tmp_path):
    turned = region("rectanglelabels", {"x": 50, "y": 25, "width": 20, "height": 25, "rotation": 90},
                    "pit")
    write(tmp_path, [task({"id": 1, "completed_by": 3, "result": [
        ELLIPSE, POLYGON, turned, region("choices", {"choices": ["good"]})]},
        predictions=[{"result": [ELLIPSE]}])])
    reading, notes = read(tmp_path)
    image, = reading.images
    assert (image.path.name, image.size, image.annotators) == ("5b1c2d3e-a.png", (WIDTH, HEIGHT), ())
    ellipse, polygon, rectangle = image.labels
    # 20 px along x become 20 px along y: percents are px before they are turned.
    assert box(ellipse.rings[0]) == pytest.approx([60 - 12, 40 - 20, 60 + 12, 40 + 20], abs=0.1)
    assert polygon.rings[0].tolist() == [[20, 8], [40, 8], [40, 40]]
    # 40 x 20 px, turned about its upper left corner at 100, 20.
    assert box(rectangle.rings[0]) == pytest.approx([80, 20, 100, 60], abs=0.1)
    assert [(x.name, x.source) for x in image.labels] == [
        ("crater", "ellipse"), ("crater", "outline"), ("pit", "box")]
    assert not notes.problems and [line[:30] for line in notes.warnings] == [
        "1 task(s) have predictions, wh", "1 answer(s) for whole images w"]


def test_a_brush_mask(tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30, 50:95] = 1
    mask[15, 60] = 0
    values = rgba(mask)
    np.testing.assert_array_equal(decode_brush(pack(values), WIDTH, HEIGHT) > 0, mask > 0)
    write(tmp_path, [task({"result": [
        region("brushlabels", {"format": "rle", "rle": pack(values)})]})])
    label, = read(tmp_path)[0].images[0].labels
    assert box(label.rings[0]) == [50, 10, 95, 30] and label.source == "mask" and label.holes
    for broken, words in ((pack(values)[:40], "cut short"), (pack(values[4:]), "expected 200x80"),
                          ("abc", "not a list of bytes"), ([300], "not a list of bytes")):
        with pytest.raises(Bad, match=words):
            decode_brush(broken, WIDTH, HEIGHT)


def test_several_people_and_cancelled_work(tmp_path):
    write(tmp_path, [task(
        {"completed_by": {"id": 7, "email": "anna@x.org"}, "result": [ELLIPSE, POLYGON]},
        {"completed_by": {"id": 8, "email": "ben@x.org"}, "result": [ELLIPSE]},
        {"completed_by": 9, "result": [], "was_cancelled": False},
        {"completed_by": 4, "result": [POLYGON], "was_cancelled": True})])
    reading, notes = read(tmp_path)
    image, = reading.images
    assert image.annotators == ("anna@x.org", "ben@x.org", "9")
    assert [label.annotator for label in image.labels] == ["anna@x.org"] * 2 + ["ben@x.org"]
    assert notes.warnings == ["1 annotation(s) were cancelled and left out, first: project.json: "
                              "task 1"]


def test_json_min_and_labels_apart_from_shapes(tmp_path):
    shape = {"x": 30, "y": 50, "radiusX": 10, "radiusY": 15, "rotation": 0,
             "ellipselabels": ["crater"], "original_width": WIDTH, "original_height": HEIGHT}
    write(tmp_path, [{"image": "http://x.org/a.png?q=1", "id": 3, "label": [shape]}], "a.png")
    assert box(read(tmp_path)[0].images[0].labels[0].rings[0]) == pytest.approx(
        [40, 28, 80, 52], abs=0.1)
    plain = {**POLYGON, "type": "polygon", "value": {"points": [[10, 10], [20, 10], [20, 50]]}}
    said = {**plain, "type": "labels", "value": {"labels": ["pit"]}}
    write(tmp_path, [task({"result": [plain, said]}, image="a.png")], "a.png")
    label, = read(tmp_path)[0].images[0].labels
    assert label.name == "pit"


@pytest.mark.parametrize("change, words", [
    ({"type": "keypointlabels"}, "no outline"), ({"image_rotation": 90}, "turned by 90 deg"),
    ({"original_width": None}, "no original_width"), ({"value": {"points": "x"}}, "pairs"),
    ({"value": {"points": [[1, 2], [3, 4], [5, 7]], "closed": False}}, "open line"),
    ({"value": {"points": [[1, 2], [3, 4], [5, 7]], "polygonlabels": ["a", "b"]}}, "one class")])
def test_what_cannot_be_used_is_named(tmp_path, change, words):
    write(tmp_path, [task({"result": [{**POLYGON, **change, "id": "other"}]},
                          {"result": [ELLIPSE]})])
    reading, notes = read(tmp_path)
    assert any(words in line for line in notes.problems), notes.problems
    assert all(line.startswith("project.json: task 1") for line in notes.problems)


def test_broken_files(tmp_path):
    write(tmp_path, [task({"result": [ELLIPSE]})])
    text = (tmp_path / "project.json").read_text()
    (tmp_path / "project.json").write_text(text[:-9])
    with pytest.raises(DataError, match="is not JSON"):
        read(tmp_path)
    for broken, words in (([1, task()], "is 1, expected an object"),
                          ([task(image="gone.png")], "gone.png"), ([task(3)], "no list of objects"),
                          ([task({"result": 5})], "without a list of results")):
        write(tmp_path, broken)
        assert words in read(tmp_path)[1].problems[0]
