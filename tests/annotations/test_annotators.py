"""Several people's labels: kept apart, one set used, scored against each other."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from crater_model.annotations.agreement import agreement, table
from crater_model.annotations.annotators import annotators, consensus
from crater_model.annotations.dataset import load_dataset, save_dataset
from crater_model.annotations.scene import Scene
from crater_model.annotations.validate import check_dataset
from crater_model.chips import cut_chips
from crater_model.cli import main
from crater_model.errors import ConfigError, DataError
from crater_model.importing.dataset import import_dataset
from tests.conftest import ellipse, instance

WIDTH, HEIGHT = 200, 120


def drawn(who, *craters):
    return [replace(instance(ellipse(x, y, r, r)), annotator=who) for x, y, r in craters]


ANNA = drawn("anna", (30, 30, 10), (80, 40, 12), (150, 80, 20), (20, 100, 4))
BEN = drawn("ben", (31, 30, 11), (80, 41, 12), (60, 90, 8))
CLEO = drawn("cleo", (30, 31, 9), (150, 81, 20), (180, 20, 6))


def save(folder, used=None, instances=(*ANNA, *BEN, *CLEO), people=()):
    scene = Scene(1, "a.png", WIDTH, HEIGHT, tuple(instances), annotators=tuple(people))
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    return save_dataset(folder, [(scene, image)], {1: "crater"}, {"annotator": used} if used else {})


def middles(instances):
    return sorted((round((i.box[1] + i.box[3]) / 2), round((i.box[0] + i.box[2]) / 2))
                  for i in instances)


def test_the_consensus_is_what_two_of_three_mark():
    scene = Scene(1, "a.png", WIDTH, HEIGHT, (*CLEO, *ANNA, *BEN))
    found = consensus(scene)
    assert middles(found) == [(30, 30), (80, 40), (150, 81)]
    assert {i.annotator for i in found} == {"consensus"}
    first = min(found, key=lambda i: i.box)
    assert first.box[3] - first.box[1] == pytest.approx(20)  # neither the largest nor the smallest
    assert len(consensus(replace(scene, instances=tuple(ANNA)))) == 4
    # Who labelled the image and found nothing counts as well: two of five are too few.
    five = consensus(replace(scene, annotators=("dan", "eve")))
    assert middles(five) == [(30, 30)]


def test_one_set_is_used_and_all_are_kept(tmp_path):
    folder = save(tmp_path / "d", "ben")
    dataset = load_dataset(folder)
    assert middles(dataset.scenes[0].instances) == middles(BEN)
    assert annotators(dataset) == {}
    everybody = load_dataset(folder, every_annotator=True)
    assert annotators(everybody) == {"anna": 4, "ben": 3, "cleo": 3}
    report = check_dataset(folder)
    assert report.ok and report.statistics["instances"] == 3
    assert report.statistics["annotators"] == {"anna": 4, "ben": 3, "cleo": 3}
    assert report.statistics["duplicates"] == 0
    cut_chips(folder, tmp_path / "c", 64, [1.0])
    chips = load_dataset(tmp_path / "c", every_annotator=True)
    assert annotators(chips) == {} and chips.scenes


@pytest.mark.parametrize("used, words", [
    (None, "image a.png has labels of anna, ben, cleo, and info.annotator does not say"),
    ("dora", "info.annotator is 'dora', expected one of anna, ben, cleo")])
def test_a_set_that_nobody_named_is_a_problem(tmp_path, used, words):
    with pytest.raises(DataError, match=words):
        load_dataset(save(tmp_path / "d", used))


def test_one_person_an_image_needs_no_choice(tmp_path):
    assert len(load_dataset(save(tmp_path / "d", instances=ANNA)).scenes[0].instances) == 4


def test_agreement_is_f1_of_each_with_each(tmp_path):
    found = agreement(save(tmp_path / "d", "anna", people=("anna", "ben", "cleo", "dan")))
    assert found["annotators"] == {"anna": 4, "ben": 3, "cleo": 3, "dan": 0}
    pairs = {(p["one"], p["other"]): p for p in found["pairs"]}
    assert len(pairs) == 6
    both = pairs["anna", "ben"]
    assert (both["confirmed"], both["found"]) == (0.5, pytest.approx(2 / 3, abs=1e-4))
    assert both["f1"] == pytest.approx(2 * 2 / (4 + 3), abs=1e-4) and 0.7 < both["median_iou"] < 1
    assert pairs["anna", "dan"]["f1"] is None
    large = agreement(tmp_path / "d", "catalogue", min_diameter=19.5)
    pairs = {(p["one"], p["other"]): p for p in large["pairs"]}
    # Anna's 20 px crater is there in Cleo's 18 px: matched, though that is under the limit.
    assert pairs["anna", "cleo"]["confirmed"] == pytest.approx(2 / 3, abs=1e-4)
    assert pairs["anna", "cleo"]["found"] == 1.0
    text = table(found)
    assert text.splitlines()[0].split() == ["F1", "anna", "ben", "cleo", "dan"]
    assert text.splitlines()[1].split()[:4] == ["anna", "-", "0.571", "0.571"]


def test_agreement_refuses_what_it_cannot_do(tmp_path):
    with pytest.raises(ConfigError, match="rule"):
        agreement(save(tmp_path / "d", "anna"), "looks")
    with pytest.raises(DataError, match="1 annotator"):
        agreement(save(tmp_path / "one", instances=ANNA))


def coco(path, sets):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 1, "name": "crater"}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1,
                         "segmentation": [i.rings[0].ravel().tolist()]}
                        for n, i in enumerate(sets)]}))


def test_import_keeps_people_apart_and_uses_their_consensus(tmp_path, capsys):
    source = save(tmp_path / "pictures", "anna") / "images"
    for who, sets in (("anna", ANNA), ("ben", BEN), ("cleo", CLEO)):
        coco(tmp_path / "s" / f"a_{who}.json", sets)
    report = import_dataset(tmp_path / "s", tmp_path / "out", images=source)
    assert report.instances == 3
    assert report.annotators == {"anna": 4, "ben": 3, "cleo": 3, "consensus": 3}
    line, = report.warnings
    assert "labelled by several people (anna, ben, cleo)" in line and "'consensus' is used" in line
    assert middles(load_dataset(tmp_path / "out").scenes[0].instances) == [
        (30, 30), (80, 40), (150, 81)]
    capsys.readouterr()
    assert main(["dataset", "import", str(tmp_path / "s"), str(tmp_path / "out"), "--images",
                 str(source), "--annotator", "ben", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["instances"] == 3
    assert middles(load_dataset(tmp_path / "out").scenes[0].instances) == middles(BEN)
    assert main(["dataset", "agreement", str(tmp_path / "out")]) == 0
    assert "0.571" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="got 'dora', expected one of anna, ben, cleo"):
        import_dataset(tmp_path / "s", tmp_path / "out", images=source, annotator="dora")
    # What is imported can be imported again, nothing twice.
    again = import_dataset(tmp_path / "out", tmp_path / "again", annotator="cleo")
    assert again.instances == 3 and again.annotators == {"anna": 4, "ben": 3, "cleo": 3}
    # A file of what was agreed on before is used as it is.
    coco(tmp_path / "s" / "annotations.json", ANNA[:2])
    report = import_dataset(tmp_path / "s", tmp_path / "out", images=source)
    assert report.instances == 2 and report.annotators["consensus"] == 2


def test_six_people_on_mars(real_data, tmp_path):
    folder = real_data / "mars_ctx_train"
    report = import_dataset(folder / "annotators", tmp_path / "six", images=folder / "images")
    assert report.images == 8 and set(report.annotators) == {*"123456", "consensus"}
    assert report.instances == 1808  # of the published clusters three people or more mark 1,832
    found = agreement(tmp_path / "six", min_diameter=10)
    people = [p for p in found["pairs"] if "consensus" not in (p["one"], p["other"])]
    assert len(people) == 15 and all(pair["images"] == 8 for pair in people)
    assert found["mean_f1"] == pytest.approx(0.70, abs=0.01)
    assert found["mean_f1"] == pytest.approx(np.mean([p["f1"] for p in people]), abs=1e-3)
    merged = import_dataset(folder, tmp_path / "merged")
    assert merged.instances == 3314 and merged.annotators["consensus"] == 3314
