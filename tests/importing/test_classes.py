from __future__ import annotations

import json

import numpy as np
from PIL import Image

from crater_model.importing.classes import spellings
from crater_model.importing.dataset import import_dataset


def test_one_class_however_it_is_written():
    assert spellings(["Old Crater", "old_crater", "CRATER", " crater", "Boulder", "OLD-crater "]) == {
        "Old Crater": "Old Crater", "old_crater": "Old Crater", "CRATER": "crater",
        " crater": "crater", "Boulder": "Boulder", "OLD-crater ": "Old Crater"}


def test_what_is_another_class_stays_one():
    assert spellings(["craters", "crater 2", "rock", "Kráter"]) == {
        "craters": "craters", "crater 2": "crater 2", "rock": "rock", "Kráter": "Kráter"}


def test_an_import_has_one_class_and_says_so(tmp_path):
    source = tmp_path / "labels"
    source.mkdir()
    Image.fromarray(np.arange(60 * 80, dtype=np.uint8).reshape(60, 80)).save(source / "a.png")
    boxes = ((3, [5, 5, 20, 20]), (7, [40, 20, 30, 30]), (9, [30, 5, 10, 10]))
    (source / "a.json").write_text(json.dumps({
        "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 60}],
        "categories": [{"id": 3, "name": "Crater"}, {"id": 7, "name": "crater"},
                       {"id": 9, "name": "rock"}],
        "annotations": [{"id": n, "image_id": 1, "category_id": category, "bbox": box}
                        for n, (category, box) in enumerate(boxes)]}))
    report = import_dataset(source, tmp_path / "data")
    assert report.label_map == {1: "crater", 2: "rock"}
    assert "1 spelling(s) of a class were taken as another's, first: 'Crater' as 'crater'" in (
        report.warnings)
    written = json.loads((tmp_path / "data" / "annotations.json").read_text())
    assert [entry["category_id"] for entry in written["annotations"]] == [1, 1, 2]
