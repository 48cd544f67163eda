"""Readers' labels become instances: clipped, repaired, left out, measured."""

from __future__ import annotations

import numpy as np
import pytest

from crater_model.annotations import outline
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.raster import Header
from crater_model.importing.formats.source import Label, Notes
from crater_model.importing.labels import finish

WIDTH, HEIGHT = 100, 60
PLAIN = Header(WIDTH, HEIGHT, None)
IDS = {"crater": 1, "rock": 2}


def label(ring, name="crater", source="outline", **more) -> Label:
    return Label((np.asarray(ring, float),), name, source, f"a.json: {name}", **more)


def square(x0, y0, x1, y1):
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def done(labels, image=PLAIN, limits=None):
    notes = Notes()
    return finish(labels, image, IDS, limits, notes), notes


def test_a_good_label_is_kept_as_it_is():
    ring = outline.ellipse(40, 30, 12, 6, angle=30)
    (instance,), notes = done([label(ring, "rock", "ellipse")])
    np.testing.assert_array_equal(instance.rings[0], ring)
    assert (instance.class_id, instance.source, instance.diameter_km) == (2, "ellipse", None)
    assert instance.area == pytest.approx(np.pi * 72, rel=0.01)
    assert not notes.problems and not notes.warnings


def test_an_ellipse_is_turned_from_x_to_y_and_close_to_round():
    ring = outline.ellipse(50, 20, 10, 2, angle=90)
    assert ring.min(axis=0) == pytest.approx([48, 10]) and ring.max(axis=0) == pytest.approx(
        [52, 30])
    ring = outline.ellipse(0, 0, 300, 300)
    edges = (ring + np.roll(ring, -1, axis=0)) / 2
    assert 300 - np.linalg.norm(edges, axis=1).min() < 0.1
    tilted = outline.ellipse(0, 0, 10, 1, angle=30)
    far = tilted[np.linalg.norm(tilted, axis=1).argmax()]
    assert abs(far[1] / far[0]) == pytest.approx(np.tan(np.radians(30)), rel=0.01)
    assert far[0] * far[1] > 0  # y runs down: it leans clockwise
    for bad in ((0, 0, 0, 3), (0, 0, -1, 3), (np.nan, 0, 2, 3), (0, 0, np.inf, 3)):
        with pytest.raises(ValueError, match="expected finite numbers and axes above 0"):
            outline.ellipse(*bad)


def test_an_outline_that_leaves_the_image_is_cut():
    instances, notes = done([label(square(90, 50, 120, 80)), label(square(-0.5, 0, 10, 10))])
    assert [i.area for i in instances] == [100, 100]
    assert instances[0].box == (50, 90, 60, 100)
    assert notes.warnings == [
        "1 outline(s) left the image and were cut at its edge, first: a.json: crater"]


def test_a_crossing_outline_is_repaired_and_counted():
    bow = [(10, 10), (30, 30), (30, 10), (10, 30)]
    (instance,), notes = done([label(bow)])
    assert instance.area == pytest.approx(200) and len(instance.rings) == 2
    assert notes.warnings == [
        "1 outline(s) crossed themselves and were repaired, first: a.json: crater"]


@pytest.mark.parametrize("ring, text", [
    (square(200, 10, 220, 20), "outside its image .x 200 to 220, y 10 to 20, image 100x60 px"),
    ([(1, 1), (2, 2), (3, 3)], "encloses no area"),
    ([(1, 1), (np.nan, 2), (3, 5)], "not finite"),
    ([(1, 1), (1e9, 2), (3, 5)], "not finite or far outside"),
])
def test_a_useless_label_is_a_named_problem(ring, text):
    instances, notes = done([label(ring), label(square(1, 1, 5, 5))])
    assert [i.area for i in instances] == [16]
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(*notes.problems)
    assert notes.problems[0].startswith("a.json: crater has an outline")


def test_labels_of_the_map_belong_where_their_centre_is():
    ring = square(-10, 20, 8, 40)
    inside, notes = done([label(ring, centre=(0.5, 30))])
    assert inside[0].area == 160 and "cut at its edge" in notes.warnings[0]
    outside, notes = done([label(ring, centre=(-0.5, 30)), label(ring, centre=(5, 60))])
    assert outside == ()
    assert notes.warnings[0].startswith("2 label(s) whose centre lies outside the image")


def test_diameters_on_the_ground():
    """One degree of latitude on the Moon is 30.323 km."""
    place = Georeference("+proj=longlat +R=1737400", (0.01, 0, 10, 0, -0.01, 0.3), WIDTH, HEIGHT)
    image = Header(WIDTH, HEIGHT, place)
    small, large = outline.ellipse(30, 30, 5, 5), outline.ellipse(60, 30, 20, 20)
    both, _ = done([label(small), label(large)], image)
    assert both[0].diameter_km == pytest.approx(0.1 * 30.323, rel=5e-3)
    assert both[1].diameter_km == pytest.approx(0.4 * 30.323, rel=5e-3)
    said, _ = done([label(small, diameter_km=7.5)], image)
    assert said[0].diameter_km == 7.5
    kept, notes = done([label(small), label(large), label(large, diameter_km=50)], image, (5, 40))
    assert [round(i.diameter_km) for i in kept] == [12]
    assert notes.warnings == ["2 label(s) outside 5 to 40 km were left out, first: a.json: crater"]
