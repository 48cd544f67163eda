"""Pascal VOC, written as LabelImg, roLabelImg and Roboflow write it, and by several people."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from crater_model.errors import DataError
from crater_model.importing.formats import voc
from crater_model.importing.formats.source import Notes, Source

WIDTH, HEIGHT = 96, 64
SIZE = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>1</depth></size>"
BOX = ("<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>")


def thing(shape, name="crater", more=""):
    return f"<object><name>{name}</name><pose>Unspecified</pose>{more}{shape}</object>"


def write(folder, *things, file="a.xml", image="a.png", size=SIZE, before=""):
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    if not (folder / "a.png").exists():
        cv2.imwrite(str(folder / "a.png"), np.zeros((HEIGHT, WIDTH), np.uint8))
    (folder / file).write_text(
        f'<?xml version="1.0"?>{before}<annotation><folder>x</folder><filename>{image}</filename>'
        f"{size}<segmented>0</segmented>{''.join(things)}</annotation>")


def read(folder):
    source, notes = Source(folder), Notes()
    files = voc.recognise(source)
    assert files, "not recognised"
    return voc.read(source, files, notes), notes


def box(label):
    points = np.concatenate(label.rings)
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).tolist()


def test_boxes_polygons_turned_boxes_and_a_confidence(tmp_path):
    write(tmp_path, thing(BOX.format(10, 8, 40, 20), more="<confidence>0.8</confidence>"),
          thing("<polygon><x1>50</x1><y1>10</y1><x2>70</x2><y2>12</y2><x3>60</x3><y3>30</y3></polygon>"
                + BOX.format(50, 10, 70, 30), "boulder"),
          thing("<robndbox><cx>40</cx><cy>40</cy><w>30</w><h>10</h><angle>1.5707963</angle>"
                "</robndbox>"))
    reading, notes = read(tmp_path)
    image, = reading.images
    assert image.size == (WIDTH, HEIGHT) and image.annotators == ()
    assert [(label.name, label.source) for label in image.labels] == [
        ("crater", "box"), ("boulder", "outline"), ("crater", "box")]
    assert box(image.labels[0]) == pytest.approx([10, 8, 40, 20])
    assert image.labels[1].rings[0].tolist() == [[50, 10], [70, 12], [60, 30]]
    assert box(image.labels[2]) == pytest.approx([35, 25, 45, 55], abs=0.1)
    assert notes.warnings == ["1 label(s) say a confidence, which is not kept, first: a.xml: "
                              "object 1"] and not notes.problems


def test_the_image_of_a_file_without_its_suffix_or_under_the_files_name(tmp_path):
    write(tmp_path, thing(BOX.format(1, 2, 9, 7)), image="C:\\pictures\\a")
    assert read(tmp_path)[0].images[0].path.name == "a.png"
    write(tmp_path, thing(BOX.format(1, 2, 9, 7)), image="renamed.jpg")
    assert read(tmp_path)[0].images[0].path.name == "a.png"
    write(tmp_path, size="<size><width>0</width><height>0</height></size>")
    image, = read(tmp_path)[0].images
    assert image.size is None and image.labels == []


@pytest.mark.parametrize("shape, words", [
    ("", "neither a bndbox nor a polygon"), (BOX.format(1, 2, "x", 9), "the xmax 'x'"),
    (BOX.format(9, 2, 1, 9), "axes above 0"), (BOX.format("nan", 2, 1, 9), "finite number"),
    ("<polygon><x1>5</x1><y1>1</y1><x2>4</x2></polygon>", "the y2 ''"),
    ("<polygon><x1>5</x1><y1>1</y1></polygon>", "1 point")])
def test_what_cannot_be_used_is_named(tmp_path, shape, words):
    write(tmp_path, thing(shape), thing(BOX.format(1, 2, 9, 7)))
    reading, notes = read(tmp_path)
    assert len(reading.images[0].labels) == 1
    problem, = notes.problems
    assert problem.startswith("a.xml: object 1 ") and words in problem


def test_broken_files(tmp_path):
    write(tmp_path, thing(BOX.format(1, 2, 9, 7)))
    text = (tmp_path / "a.xml").read_text()
    (tmp_path / "a.xml").write_text(text[:-40])
    with pytest.raises(DataError, match="a.xml: is not whole XML"):
        read(tmp_path)
    write(tmp_path, before='<!DOCTYPE a [<!ENTITY b "c">]>')
    with pytest.raises(DataError, match="declares a document type"):
        read(tmp_path)
    write(tmp_path, image="gone.png", file="b.xml")
    (tmp_path / "a.xml").unlink()
    assert "gone.png" in read(tmp_path)[1].problems[0]


def test_files_of_several_people_are_kept_apart(tmp_path):
    for who, shift in (("anna", 0), ("ben", 1), ("cleo", 40)):
        write(tmp_path, *(thing(BOX.format(x + shift, 8, x + shift + 20, 26)) for x in (5, 30)),
              file=f"{who}/a.xml")
    reading, notes = read(tmp_path)
    image, = reading.images
    assert image.annotators == ("anna", "ben", "cleo") and not notes.problems
    assert [label.annotator for label in image.labels] == ["anna", "anna", "ben", "ben", "cleo",
                                                           "cleo"]
    for who in ("anna", "ben", "cleo"):
        (tmp_path / who / "a.xml").rename(tmp_path / f"a_{who}.xml")
    assert read(tmp_path)[0].images[0].annotators == ("anna", "ben", "cleo")


def test_files_of_other_things_are_put_together(tmp_path):
    write(tmp_path, thing(BOX.format(5, 8, 20, 26)), file="craters/a.xml")
    write(tmp_path, thing(BOX.format(50, 8, 70, 26), "boulder"), file="boulders/a.xml")
    reading, notes = read(tmp_path)
    image, = reading.images
    assert sorted(label.name for label in image.labels) == ["boulder", "crater"]
    assert image.annotators == () and "put together" in notes.warnings[0]
