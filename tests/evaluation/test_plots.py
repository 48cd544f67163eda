"""The pictures: drawn for any scores, also for none."""

import io

import numpy as np
import pytest
from PIL import Image

from crater_model.evaluation import plots

BINS = [
    {"from_px": 0.0, "to_px": 10.0, "labels": 9, "recall": 0.2, "catalogue_recall": 0.4},
    {"from_px": 10.0, "to_px": 14.14, "labels": 0, "recall": None, "catalogue_recall": None},
    {"from_px": 14.14, "to_px": 20.0, "labels": 3, "recall": 0.9, "catalogue_recall": 1.0}]


class Scored:
    def __init__(self, bins, scores, right, wanted):
        self.bins, self.values = bins, (np.array(scores), np.array(right, bool), wanted)

    def by_diameter(self):
        return self.bins

    def matches(self):
        return {"outline": self.values, "catalogue": self.values}


@pytest.mark.parametrize("scored", [
    Scored(BINS, [0.9, 0.5], [1, 0], 12), Scored(BINS[:1], [], [], 9), Scored([], [0.5], [0], 0),
    Scored([], [], [], 0)], ids=["some", "one_bin", "no_label", "nothing"])
def test_pictures_are_png(scored):
    for draw in (plots.completeness, plots.precision_recall):
        picture = Image.open(io.BytesIO(draw(scored)))
        assert picture.format == "PNG" and picture.size == (520, 320)


def test_completeness_shows_both_rules(monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "_png", lambda figure: drawn.append(figure.axes[0]) or b"")
    plots.completeness(Scored(BINS, [], [], 12))
    axes, = drawn
    outline, catalogue = (patch.get_data() for patch in axes.patches)
    np.testing.assert_allclose(outline.edges, [10 / 2 ** 0.5, 10, 14.14, 20])
    np.testing.assert_allclose(outline.values, [0.2, np.nan, 0.9])
    np.testing.assert_allclose(catalogue.values, [0.4, np.nan, 1.0])
    assert [text.get_text() for text in axes.texts] == ["9", "0", "3"]
    assert [text.get_text() for text in axes.get_legend().texts] == ["outline", "catalogue"]
