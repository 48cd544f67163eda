"""The HTML report holds the numbers, the pictures, and every problem."""

import json
from html.parser import HTMLParser

import numpy as np
from PIL import Image

from crater_model.annotations.report import write_html
from crater_model.annotations.validate import check_dataset


class Page(HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.pictures, self.text = [], ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])

    def handle_data(self, data):
        self.text += data


def test_a_good_data_set(tiny_dataset, tmp_path):
    report = check_dataset(tiny_dataset)
    page = Page(write_html(report, tiny_dataset, tmp_path / "report.html"))
    assert "tiny_dataset" in page.text and "no problem, 0 warning(s)" in page.text
    assert report.statistics["fingerprint"] in page.text and "crater 25" in page.text
    assert len(page.pictures) == 3  # no diameter on the ground is known
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in page.pictures)


def test_a_bad_data_set(tiny_dataset, tmp_path):
    (tiny_dataset / "images" / "scene_002.png").unlink()
    page = Page(write_html(check_dataset(tiny_dataset), tiny_dataset, tmp_path / "report.html"))
    assert "1 problem(s)" in page.text and "scene_002.png: is missing" in page.text
    assert page.pictures == []


def test_what_a_data_set_has_is_shown(tiny_dataset, tmp_path):
    images, labels = tiny_dataset / "images", tiny_dataset / "annotations.json"
    pixels = np.asarray(Image.open(images / "scene_001.png"))
    Image.fromarray(pixels[::-1] // 2 + 20).save(images / "scene_004.png")
    document = json.loads(labels.read_text())
    document["annotations"][0].update(diameter_km=1.5, label_source="<circle>")
    document["images"][0]["split"], document["images"][3]["split"] = "train", "test"
    labels.write_text(json.dumps(document))
    report = check_dataset(tiny_dataset)
    path = write_html(report, tiny_dataset, tmp_path / "report.html")
    page = Page(path)
    assert len(page.pictures) == 5
    for text in ("NEAR-DUPLICATES ACROSS SPLITS", "Diameters on the ground", "Look-alikes",
                 "Labels in an image", "scene_001.png and scene_004.png: ",
                 "outline 24, <circle> 1", "test 1, train 1, undecided 4"):
        assert text in page.text, text
    assert "<circle>" not in path.read_text()
