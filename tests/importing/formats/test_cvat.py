"""data/cvat/datumaro was written by datumaro 1.13.12 (export to "cvat"). data/cvat/project is
written by hand after the dumper in CVAT's own source, since CVAT needs a server: it has
what datumaro does not write (ellipses, cropped masks, subsets, a project's labels)."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import shapely

from crater_model.errors import DataError
from crater_model.importing.formats import cvat
from crater_model.importing.formats.source import Notes, Source

DATA = Path(__file__).parent / "data" / "cvat"
IMAGES = DATA / "datumaro" / "images"


def read(path, images=None):
    source, notes = Source(path, images), Notes()
    files = cvat.recognise(source)
    assert files, "not recognised"
    return cvat.read(source, files, notes), notes


def write(folder, *shapes, name="a.png", before="", size='width="96" height="64"'):
    (folder / "a.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>{before}<annotations><version>1.1</version>'
        f'<image id="0" name="{name}" {size}>{"".join(shapes)}</image></annotations>')


def box(label):
    points = np.concatenate(label.rings)
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).tolist()


def area(label):
    return sum(shapely.Polygon(ring).area for ring in label.rings)


def far_end(label, middle):
    """The end of the long axis that lies to the right, from the middle."""
    away = label.rings[0] - middle
    end = away[np.hypot(*away.T).argmax()]
    return end if end[0] > 0 else -end


def test_files_of_datumaro():
    reading, notes = read(DATA / "datumaro")
    assert [image.path.name for image in reading.images] == ["a.png", "b.png", "empty.png"]
    assert [image.split for image in reading.images] == ["train", "validation", "train"]
    assert {image.size for image in reading.images} == {(96, 64)}
    assert tuple(reading.classes) == ("boulder", "crater")
    plain, turned, polygon, mask = reading.images[0].labels
    assert [label.source for label in reading.images[0].labels] == ["box", "box", "outline", "mask"]
    assert box(plain) == pytest.approx([10, 8, 30, 20])
    assert area(plain) == pytest.approx(np.pi * 10 * 6, rel=0.02)
    assert far_end(turned, (48, 40)) == pytest.approx(
        [12 * np.cos(np.pi / 6), 12 * np.sin(np.pi / 6)], abs=0.01)  # clockwise, y is down
    assert polygon.rings[0].tolist() == [[70, 40], [90, 40], [90, 60]]
    assert polygon.name == "boulder" and plain.name == "crater"
    assert box(mask) == pytest.approx([60, 10, 85, 24], abs=0.13)
    assert area(mask) == pytest.approx(25 * 10 + 5 * 4, rel=0.05)
    assert shapely.Polygon(mask.rings[0]).contains(shapely.Point(62, 23))
    assert not shapely.Polygon(mask.rings[0]).contains(shapely.Point(80, 23))
    assert reading.images[2].labels == []
    assert notes.problems == ["train.xml: image a.png, shape 5 is drawn as polyline, which is no "
                              "outline; draw a polygon, ellipse, rectangle or mask in its place"]


def test_a_project_with_subsets():
    reading, notes = read(DATA / "project")
    train, validation, empty = reading.images
    assert train.path.parent.name == "Train" and validation.path.parent.name == "Validation"
    assert [image.split for image in reading.images] == ["train", "validation", "validation"]
    assert tuple(reading.classes) == ("pit", "crater")  # not the attribute "age"
    assert [label.name for label in train.labels] == ["crater", "pit", "crater"]
    assert box(validation.labels[0]) == pytest.approx([10, 8, 30, 20])
    assert [problem.split(", which")[0] for problem in notes.problems] == [
        f"annotations.xml: image a.png, shape {number} is drawn as {kind}"
        for number, kind in ((4, "points"), (5, "skeleton"), (6, "cuboid"))]
    assert notes.warnings == ["1 tags of whole images were left out, first: annotations.xml"]


def test_an_ellipse_turns_clockwise():
    reading, _ = read(DATA / "project")
    turned, straight = reading.images[0].labels[:2]
    assert far_end(turned, (40, 30)) == pytest.approx(
        [12 * np.cos(np.pi / 6), 12 * np.sin(np.pi / 6)], abs=0.01)
    assert area(turned) == pytest.approx(np.pi * 12 * 4, rel=0.02)
    assert box(straight) == pytest.approx([34, 26, 46, 34])
    assert turned.source == straight.source == "ellipse"


def test_a_mask_goes_along_the_rows_of_its_box():
    reading, _ = read(DATA / "project")
    mask = reading.images[0].labels[2]
    outline = shapely.Polygon(mask.rings[0])
    # .xxx. / .xxx. / xxxxx from (70, 50)
    inside = [[outline.contains(shapely.Point(70.5 + x, 50.5 + y)) for x in range(5)]
              for y in range(3)]
    assert np.array(inside).astype(int).tolist() == [[0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [1] * 5]
    assert mask.source == "mask"


SQUARE = '<polygon label="crater" points="1,1;5,1;5,5;1,5"/>'


@pytest.mark.parametrize("bad, problem", [
    ('<polygon label="c" points="1,1;5,1"/>', "has an outline of 2 point(s)"),
    ('<polygon label="c" points="1,1;5;5,5"/>', "not a list of finite x, y pairs"),
    ('<polygon label="c" points="1,1;5,nan;5,5"/>', "not a list of finite x, y pairs"),
    ('<polygon label="c"/>', "not a list of finite x, y pairs"),
    ('<polygon points="1,1;5,1;5,5"/>', "has no label; name its class"),
    ('<box label="c" xtl="1" ytl="1" xbr="5"/>', "has the ybr 'None'"),
    ('<box label="c" xtl="5" ytl="1" xbr="1" ybr="4"/>', "axes above 0"),
    ('<ellipse label="c" cx="5" cy="5" rx="inf" ry="3"/>', "has the rx 'inf'"),
    ('<ellipse label="c" cx="5" cy="5" rx="1e300" ry="3"/>', "far too large"),
    ('<mask label="c" left="0" top="0" width="3" height="2" rle="1, 2"/>', "runs do not add up"),
    ('<mask label="c" left="0" top="0" width="3" height="2" rle="-1, 7"/>', "runs do not add up"),
    ('<mask label="c" left="0" top="0" width="3" height="2" rle="1, x"/>', "whole numbers"),
    ('<mask label="c" left="0" top="0" width="3" height="2" rle="99999999999999999999"/>',
     "whole numbers"),
    ('<mask label="c" left="0" top="0" width="3" height="2" rle="6"/>', "has an empty mask"),
    ('<mask label="c" left="0" top="0" width="99999" height="99999" rle="0, 9999800001"/>',
     "has a mask of 99999x99999 px"),
    ('<mask label="c" left="0" top="0" width="0" height="2" rle="0"/>', "has a mask of 0x2 px"),
    ('<cuboid label="c"/>', "is drawn as cuboid, which is no outline")])
def test_a_broken_shape_is_named_and_the_others_are_read(tmp_path, bad, problem):
    write(tmp_path, bad, SQUARE)
    reading, notes = read(tmp_path / "a.xml", IMAGES)
    assert [area(label) for label in reading.images[0].labels] == [16]
    assert len(notes.problems) == 1 and problem in notes.problems[0]
    assert notes.problems[0].startswith("a.xml: image a.png, shape 1 ")


@pytest.mark.parametrize("name", ["../../etc/passwd", "c.png", ""])
def test_an_image_that_is_not_there(tmp_path, name):
    write(tmp_path, SQUARE, name=name)
    reading, notes = read(tmp_path / "a.xml", IMAGES)
    assert not reading.images and len(notes.problems) == 1
    assert notes.problems[0].startswith("a.xml: image entry 0 ")


def test_a_size_that_is_no_number(tmp_path):
    write(tmp_path, SQUARE, size='width="wide" height="64"')
    _, notes = read(tmp_path / "a.xml", IMAGES)
    assert notes.problems == ["a.xml: image entry 0 has the width 'wide', expected a finite "
                              "number; correct it"]


def test_two_files_for_an_image(tmp_path):
    write(tmp_path, SQUARE)
    (tmp_path / "b.xml").write_bytes((tmp_path / "a.xml").read_bytes())
    reading, notes = read(tmp_path, IMAGES)
    assert len(reading.images[0].labels) == 1
    assert notes.problems == ["b.xml: image entry 0 is of the image a.png, which a.xml labels "
                              "already; keep one of the two entries"]


BOMB = ('<!DOCTYPE a [<!ENTITY a "crater"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
        '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>')


@pytest.mark.parametrize("text, problem", [
    (f"{BOMB}<annotations><version>&c;</version></annotations>", "declares a document type"),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations><meta/></annotations>',
     "declares a document type"),
    ('<annotations><version>1.1</version><image id="0" name="a.png"><box', "is not whole XML"),
    ("<annotations><version>\x01</version></annotations>", "is not whole XML"),
    ('<?xml version="1.0" encoding="none"?><annotations><meta/></annotations>', "not whole XML"),
    ("<annotations><meta/>" + "<a>" * 100_000, "deep")])
def test_a_broken_file_is_refused(tmp_path, text, problem):
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=problem) as error:
        read(tmp_path)
    assert "a.xml" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.slow
def test_a_long_file_takes_little_memory(tmp_path):
    write(tmp_path, *['<points label="c" points="1,1"><attribute name="n">v</attribute></points>']
          * 20_000, *['<tag label="c"/>'] * 20_000, SQUARE)
    tracemalloc.start()
    reading, notes = read(tmp_path / "a.xml", IMAGES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(reading.images[0].labels) == 1 and len(notes.problems) == 20_000
    assert peak < 8 * 2**20  # 20,000 problems take about 4 MB of it


@pytest.mark.parametrize("text", [
    "<annotation><filename>a.png</filename><object/></annotation>",  # Pascal VOC
    "<Product_Observational/>", "", "annotations"])
def test_other_files_are_not_recognised(tmp_path, text):
    (tmp_path / "a.xml").write_text(text)
    assert cvat.recognise(Source(tmp_path)) == []


TRACK_BOX = '<box frame="{}" outside="{}" keyframe="1" xtl="{}" ytl="10" xbr="{}" ybr="30"/>'


def tracks(folder, *tracks, images=("frame_000000.PNG", "frame_000001.PNG")):
    for name in images:
        (folder / name).write_bytes((IMAGES / "a.png").read_bytes())
    (folder / "a.xml").write_text(
        "<annotations><version>1.1</version><meta/>" + "".join(
            f'<track id="{n}" label="crater">{"".join(shapes)}</track>'
            for n, shapes in enumerate(tracks)) + "</annotations>")
    return read(folder)


def test_tracks_of_single_frames(tmp_path):
    reading, notes = tracks(
        tmp_path, [TRACK_BOX.format(0, 0, 20, 50), TRACK_BOX.format(1, 1, 20, 50)],
        [TRACK_BOX.format(0, 0, 1, 9), TRACK_BOX.format(1, 0, 3, 11), TRACK_BOX.format(2, 1, 3, 11)],
        ['<polygon frame="1" outside="0" keyframe="1" points="60,20;80,20;80,40"/>'])
    first, second = reading.images
    assert [box(label) for label in first.labels] == [
        pytest.approx([20, 10, 50, 30]), pytest.approx([1, 10, 9, 30])]
    assert [label.source for label in second.labels] == ["box", "outline"]
    assert box(second.labels[0]) == pytest.approx([3, 10, 11, 30])
    assert notes.warnings == ["1 track(s) have no end and were taken to be in the frames with a "
                              "shape, first: a.xml: track 2"] and not notes.problems


def test_frames_by_the_order_of_the_names_and_tracks_that_cannot_be_used(tmp_path):
    reading, notes = tracks(
        tmp_path, [TRACK_BOX.format(1, 0, 20, 50), TRACK_BOX.format(2, 1, 20, 50)],
        [TRACK_BOX.format(0, 0, 1, 9), TRACK_BOX.format(7, 0, 1, 9)], [],
        [TRACK_BOX.format(9, 0, 1, 9), TRACK_BOX.format(10, 1, 1, 9)],
        [TRACK_BOX.format(0, 0, "x", 9), TRACK_BOX.format(1, 1, 1, 9)], images=("p.png", "q.png"))
    assert [image.path.name for image in reading.images if image.labels] == ["q.png"]
    assert "in the order of the images' names" in notes.warnings[0]
    assert [line[:15] for line in notes.problems] == [f"a.xml: track {n} "[:15] for n in (1, 2, 3, 4)]
    for line, words in zip(notes.problems, (
            "frames 0 and 7 and none between", "has no shape", "in the frame 9, but there are 2",
            "frame 0 has the xtl 'x'"), strict=True):
        assert words in line
