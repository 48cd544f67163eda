"""What holds for any outline in any window: area, edges, places and coverage."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from crater_model.annotations.clipping import Outlines
from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.outline import ellipse
from crater_model.annotations.scene import Instance, Scene
from crater_model.chips import cut_chips
from crater_model.chips.windows import positions, scaled_size

SIDES = st.tuples(st.integers(60, 400), st.integers(60, 400)).filter(lambda s: s[0] != s[1])
SCALES = st.one_of(st.sampled_from([0.125, 0.25, 0.5, 1.0, 2.0]), st.floats(0.125, 3.0))


@st.composite
def outlines(draw, width, height):
    """Ellipses and star polygons inside a scene, float64 [n, 2]."""
    radius = draw(st.floats(4, 0.45 * min(width, height)))
    x = draw(st.floats(radius, width - radius))
    y = draw(st.floats(radius, height - radius))
    if draw(st.booleans()):
        ring = ellipse(x, y, radius, radius * draw(st.floats(0.2, 1)), draw(st.floats(0, 180)))
    else:
        reach = np.array(draw(st.lists(st.floats(0.3, 1), min_size=5, max_size=24)))
        angles = np.linspace(0, 2 * np.pi, len(reach), endpoint=False)
        ring = np.array([x, y]) + radius * reach[:, None] * np.stack(
            [np.cos(angles), np.sin(angles)], axis=1)
    ring = np.clip(ring, 0, (width, height))
    assume(shapely.Polygon(ring).is_valid)
    return ring


@st.composite
def scenes(draw):
    width, height = draw(SIDES)
    rings = draw(st.lists(outlines(width, height), min_size=1, max_size=4))
    return width, height, [Instance(i, 1, (ring,), shapely.Polygon(ring).area, source="ellipse",
                                    diameter_km=float(i)) for i, ring in enumerate(rings, 1)]


def cuts(length, scale, pieces):
    """Whole px of the chips at which a side is divided, so that nothing is shown twice."""
    return sorted({round(length * scale * piece) for piece in (0, *pieces, 1)})


@settings(deadline=None)
@given(scenes(), SCALES, st.lists(st.floats(0, 1), max_size=5),
       st.lists(st.floats(0, 1), max_size=5))
def test_area_is_conserved_and_nothing_lies_outside(scene, scale, columns, rows):
    width, height, instances = scene
    outline = Outlines(instances)
    total = dict.fromkeys((i.id for i in instances), 0.0)
    xs, ys = cuts(width, scale, columns), cuts(height, scale, rows)
    for top, bottom in zip(ys, ys[1:]):
        for left, right in zip(xs, xs[1:]):
            w, h = right - left, bottom - top
            clipped = outline.inside(left / scale, top / scale, w, h, scale, 0.0, 0.0)
            assert clipped.cut == 0
            for instance in clipped.instances:
                points = np.concatenate(instance.rings)
                assert (points >= 0).all() and (points <= (w, h)).all()
                drawn = shapely.union_all([shapely.Polygon(r) for r in instance.rings]).area
                assert drawn == pytest.approx(instance.area, rel=1e-6, abs=1e-4)
                assert instance.diameter_km == instance.id and instance.source == "ellipse"
                total[instance.id] += instance.area / scale**2
    covered = shapely.box(0, 0, xs[-1] / scale, ys[-1] / scale)
    for instance in instances:
        shape = shapely.Polygon(instance.rings[0])
        expected = shape.intersection(covered).area  # the last px may be rounded away
        assert total[instance.id] == pytest.approx(expected, rel=1e-6, abs=1e-4)


@settings(deadline=None)
@given(scenes(), SCALES, st.integers(16, 128), st.floats(0, 0.9), st.floats(0, 1),
       st.floats(1, 20))
def test_every_label_of_a_window_is_kept_or_counted(scene, scale, size, overlap, visible, small):
    width, height, instances = scene
    outline = Outlines(instances)
    full_width, full_height = scaled_size(width, height, scale)
    w, h = min(size, full_width), min(size, full_height)
    for y in positions(full_height, h, overlap)[:3]:
        for x in positions(full_width, w, overlap)[:3]:
            left, top = x / scale, y / scale
            window = shapely.box(left, top, left + w / scale, top + h / scale)
            clipped = outline.inside(left, top, w, h, scale, visible, small)
            parts = [shapely.Polygon(i.rings[0]).intersection(window).area for i in instances]
            touching = sum(area > 1e-5 for area in parts)
            found = len(clipped.instances) + clipped.cut + clipped.small
            assert touching <= found <= sum(area > 0 for area in parts)
            for instance in clipped.instances:
                whole = shapely.Polygon(instances[instance.id - 1].rings[0]).area
                assert instance.diameter >= small * (1 - 1e-9)
                assert instance.area / scale**2 >= visible * whole * (1 - 1e-9)


@given(st.integers(1, 3000), st.integers(1, 400), st.floats(0, 0.9))
def test_windows_cover_every_pixel(length, chip, overlap):
    chip = min(chip, length)
    found = positions(length, chip, overlap)
    shown = np.zeros(length, int)
    for first in found:
        assert 0 <= first <= length - chip
        shown[first:first + chip] += 1
    assert shown.min() >= 1
    assert found == sorted(set(found))
    # Neighbours share what was asked for, to the px that rounding may take.
    assert all(a + chip - b >= overlap * chip - 1 for a, b in zip(found, found[1:]))


@settings(max_examples=20, deadline=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(scenes(), SCALES, st.integers(32, 200), st.floats(0, 0.9),
       st.tuples(st.floats(-500, 500), st.floats(-500, 500)), st.sampled_from([0.5, 1.0, 2.0]))
def test_whole_craters_come_back_to_their_place(scene, scale, size, overlap, offset, of_scene):
    width, height, instances = scene
    original = Scene(7, "s.png", width, height, tuple(instances), scene="mosaic",
                     offset=offset, scale=of_scene)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_dataset(folder / "d", [(original, np.zeros((height, width), np.uint8))],
                     {1: "crater"})
        report = cut_chips(folder / "d", folder / "c", size, [scale], overlap=min(overlap, 0.6),
                           min_visible=0.0, min_diameter=1.0)
        chips = load_dataset(folder / "c").scenes
    whole = 0
    for chip in chips:
        window = shapely.box(0.01, 0.01, chip.width - 0.01, chip.height - 0.01)
        found = {i.diameter_km: i for i in chip.instances}
        for instance in instances:
            in_scene = original.to_scene(instance.rings[0])
            in_chip = shapely.Polygon((in_scene - chip.offset) * chip.scale)
            if window.covers(in_chip) and in_chip.area > 1:
                back = shapely.union_all([shapely.Polygon(chip.to_scene(ring))
                                          for ring in found[instance.diameter_km].rings])
                apart = shapely.hausdorff_distance(back, shapely.Polygon(in_scene))
                assert apart * of_scene <= 0.01  # px of the image that was cut
                whole += 1
    assume(whole)
    assert report.chips == len(chips)
    shown = {i.diameter_km for chip in chips for i in chip.instances}
    assert report.lost == len(instances) - len(shown)
