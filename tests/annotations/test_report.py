"""The HTML report holds the numbers, the pictures, and every problem."""

from html.parser import HTMLParser

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
    assert len(page.pictures) == 2
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in page.pictures)


def test_a_bad_data_set(tiny_dataset, tmp_path):
    (tiny_dataset / "images" / "scene_002.png").unlink()
    page = Page(write_html(check_dataset(tiny_dataset), tiny_dataset, tmp_path / "report.html"))
    assert "1 problem(s)" in page.text and "scene_002.png: is missing" in page.text
    assert page.pictures == []
