"""The comparison with YOLO: labels as it reads them, one scorer for both sides, what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shapely import Polygon, box

from benchmarks import yolo
from benchmarks import yolo_score as score
from benchmarks import yolo_sides as sides
from crater_model.annotations.dataset import load_dataset
from crater_model.annotations.outline import ellipse
from crater_model.annotations.scene import Instance, Scene


def crater(x: float, y: float, radius: float) -> Instance:
    ring = ellipse(x, y, radius, radius)
    return Instance(0, 1, (ring,), Polygon(ring).area)


def scene(*instances: Instance, width: int = 200, height: int = 120, **more) -> Scene:
    return Scene(1, "a.png", width, height, instances, **more)


def disc(x: float, y: float, radius: float) -> Polygon:
    return Polygon(ellipse(x, y, radius, radius))


def test_labels_are_shares_of_width_and_height():
    square = Instance(0, 2, (np.array([[20.0, 30], [60, 30], [60, 90], [20, 90]]),), 2400.0)
    outside = Instance(0, 1, (np.array([[-5.0, 0], [0, 0], [0, 10], [-5, 10]]),
                              np.array([[0.0, 60], [210, 60], [210, 120], [0, 120]])), 1.0)
    first, second = score.label_lines(scene(square, outside))
    assert first == ("1 0.100000 0.250000 0.300000 0.250000 0.300000 0.750000 0.100000 0.750000")
    # Of two rings the larger; beyond the image's edge at the edge.
    assert second == ("0 0.000000 0.500000 1.000000 0.500000 1.000000 1.000000 0.000000 1.000000")


def test_outline_of_a_mask_lies_half_way_between_pixels():
    masks = np.zeros((1, 12, 20), bool)
    masks[0, 2:7, 8:18] = True  # 5 rows, 10 columns
    outline, = score.mask_outlines(masks)
    assert outline.bounds == (8.0, 2.0, 18.0, 7.0)
    assert outline.area == pytest.approx(50 - 4 * 0.125)


def test_tiles_are_merged_in_the_scenes_px():
    # Two tiles at scale 2 over a scene of 200 x 120 px, the second from x = 80 on.
    left = Scene(1, "l.png", 240, 240, scene="s", offset=(0.0, 0.0), scale=2.0)
    right = Scene(2, "r.png", 240, 240, scene="s", offset=(80.0, 0.0), scale=2.0)
    found = score.merged((200, 120), [
        (left, score.Found.of([disc(200, 100, 20), disc(60, 60, 12), disc(234, 200, 6)],
                              [0.9, 0.5, 0.8])),
        (right, score.Found.of([disc(40, 101, 20), disc(74, 200, 10)], [0.7, 0.3]))])
    # The first is in both tiles, the last is cut by the left one's edge: whole wins over best.
    centres = [(round(o.centroid.x, 2), round(o.centroid.y, 2)) for o in found.outlines]
    assert centres == [(100.0, 50.0), (30.0, 30.0), (117.0, 100.0)]
    assert found.scores.tolist() == [0.9, 0.5, 0.3]
    assert np.sqrt(found.outlines[0].area / np.pi) == pytest.approx(10.0, rel=0.01)


def test_only_inner_edges_cut():
    tile = Scene(1, "t.png", 100, 50, scene="s", offset=(100.0, 30.0), scale=1.0)
    shapes = np.array([box(101, 40, 110, 50), box(190, 40, 199, 50), box(110, 31, 120, 40),
                       box(110, 70, 120, 79), box(110, 40, 120, 50)], object)
    cut = score.touches_inner_edge(shapes, tile, (200, 120), 2.0)
    assert cut.tolist() == [True, False, True, True, False]
    whole = score.touches_inner_edge(shapes, tile, (200, 80), 2.0)
    assert whole.tolist() == [True, False, True, False, False]
    assert score.touches_inner_edge(np.zeros(0, object), tile, (200, 80), 2.0).shape == (0,)


def test_scores_are_cocos():
    large, small = crater(60, 50, 15), crater(150, 80, 4)
    labelled = scene(large, small)
    exact = score.Found.of([disc(60, 50, 15), disc(150, 80, 4)], [0.9, 0.8])
    found = score.coco_scores([(labelled, exact)])
    assert found == {"mask_AP": 1.0, "mask_AP50": 1.0, "mask_AP_10px": 1.0, "mask_AP50_10px": 1.0,
                     "labels": 2, "labels_10px": 1, "detections": 2}
    # A wrong detection before the right ones halves the precision ...
    wrong = score.Found.of([disc(100, 20, 8), disc(60, 50, 15)], [0.95, 0.9])
    found = score.coco_scores([(labelled, wrong)])
    # ... of the 51 of 101 places of recall that one of two labels reaches.
    assert found["mask_AP50"] == pytest.approx(51 / 101 / 2, abs=1e-4)
    assert found["mask_AP50_10px"] == 0.5
    # A disc of 0.8 of the radius has an IoU of 0.64: three of ten thresholds.
    half = score.Found.of([disc(60, 50, 12)], [0.9])
    found = score.coco_scores([(scene(large), half)])
    assert found["mask_AP50"] == 1.0 and found["mask_AP"] == pytest.approx(0.3)


def test_below_10_px_nothing_counts():
    large, small = crater(60, 50, 15), crater(150, 80, 4)
    # Before the right one: a small label found, a small one in the wrong place.
    found = score.Found.of([disc(150, 80, 4), disc(100, 20, 4), disc(60, 50, 15)], [0.9, 0.8, 0.7])
    scores = score.coco_scores([(scene(large, small), found)])
    assert scores["mask_AP50_10px"] == 1.0 and scores["mask_AP50"] < 1.0
    # A label of 10 px counts though its 32 corners lie on the circle.
    assert score.coco_scores([(scene(crater(50, 50, 5)), found)])["labels_10px"] == 1
    assert score.coco_scores([(scene(crater(50, 50, 4.9)), found)])["labels_10px"] == 0


def test_no_detection_is_cut_off_and_none_scores_zero():
    many = [crater(10 + 8 * (i % 22), 10 + 8 * (i // 22), 3) for i in range(250)]
    labelled = scene(*many, height=200)
    exact = score.Found.of([Polygon(i.rings[0]) for i in many], np.linspace(0.9, 0.1, 250))
    assert score.coco_scores([(labelled, exact)])["mask_AP50"] == 1.0
    nothing = score.coco_scores([(labelled, score.Found.of([], []))])
    assert nothing["mask_AP"] == nothing["mask_AP50_10px"] == 0.0 and nothing["labels"] == 250


def test_yolos_folder_holds_one_validation_image_and_no_test_label(tiny_dataset, tmp_path):
    sides.prepare(tmp_path, tiny_dataset, (0.5, 0.25, 0.25), 0)
    chips = load_dataset(tmp_path / "scenes")
    (tmp_path / "chips").symlink_to(tmp_path / "scenes")
    counts = sides.write_yolo(str(tmp_path))
    assert sum(split["images"] for split in counts.values()) == len(chips.scenes)
    train = [s for s in chips.scenes if s.split == "train"]
    held_out = {s.file_name for s in chips.scenes if s.split == "test"}
    images, labels = tmp_path / "yolo/images", tmp_path / "yolo/labels"
    assert {p.name for p in (images / "train").iterdir()} == {s.file_name for s in train}
    assert {p.name for p in (images / "test").iterdir()} == held_out
    assert len(list((images / "validation").iterdir())) == 1 and not (labels / "test").exists()
    for image in train:
        lines = (labels / f"train/{Path(image.file_name).stem}.txt").read_text().splitlines()
        assert len(lines) == len(image.instances)
    names = (tmp_path / "yolo/data.yaml").read_text()
    assert "train: images/train\nval: images/validation\nnames:\n  0: crater\n" in names


def test_fewer_training_scenes_leave_the_others_alone(tiny_dataset, tmp_path):
    splits = {}
    for count in (0, 1):
        folder = tmp_path / str(count)
        sides.prepare(folder, tiny_dataset, (0.5, 0.25, 0.25), count)
        splits[count] = {s.scene: s.split for s in load_dataset(folder / "scenes").scenes}
    train = [name for name, split in splits[0].items() if split == "train"]
    assert len(train) > 1
    assert splits[1] == {name: split for name, split in splits[0].items() if name not in train[1:]}


def test_masks_of_the_peer_become_outlines(tmp_path):
    masks = np.zeros((2, 12, 20), bool)
    masks[0, 2:7, 8:18] = masks[1, 5:11, 1:6] = True
    np.savez(tmp_path / "t.png.npz", scores=np.array([0.5, 0.25], np.float32),
             masks=np.packbits(masks, axis=-1), size=(12, 20))
    np.savez(tmp_path / "u.png.npz", scores=np.zeros(0, np.float32),
             masks=np.packbits(np.zeros((0, 12, 20), bool), axis=-1), size=(12, 20))
    tiles = [Scene(1, "t.png", 20, 12), Scene(2, "u.png", 20, 12)]
    found, nothing = sides.yolo_outlines(None, tiles, tmp_path)
    assert [o.bounds for o in found.outlines] == [(8, 2, 18, 7), (1, 5, 6, 11)]
    assert found.scores.tolist() == [0.5, 0.25] and len(nothing.scores) == 0


def test_the_better_yolo_is_compared():
    def scored(ap, ap50):
        return {"mask_AP": ap, "mask_AP50": ap50, "mask_AP_10px": ap, "mask_AP50_10px": ap50}

    found = yolo.compared({"ours": scored(0.6, 0.9), "pretraining": {"steps": 5},
                           "yolo": scored(0.1, 0.5), "yolo_apart": scored(0.2, 0.4)})
    assert found == {"better_yolo": "yolo_apart", "times_yolo": {"ours": {
        "mask_AP": 3.0, "mask_AP50": 2.25, "mask_AP_10px": 3.0, "mask_AP50_10px": 2.25}}}


def test_steps_fill_the_time():
    # 60 s of which 100 steps took 20, the first two loops aside: 40 s go to start and end.
    rows = [{"kind": "train", "step": 10 * n, "seconds": 30 + 2.0 * n} for n in range(3, 11)]
    first = [{"kind": "train", "step": 10, "seconds": 1.0}, {"kind": "validation", "step": 10},
             {"kind": "train", "step": 20, "seconds": 30.0}]
    pace = {"process_seconds": 60.0, "history": [*first, *rows]}
    assert yolo.fitting_steps(pace, 240.0) == 990
    assert yolo.fitting_steps(pace, 41.0) == yolo.PACE_STEPS
