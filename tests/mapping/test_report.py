"""Reports, and completeness against a catalogue."""

from __future__ import annotations

import numpy as np
import pytest

from crater_model.errors import DataError, DataProblems
from crater_model.imagery.raster import ArrayRaster
from crater_model.importing.formats import catalogue
from crater_model.mapping.completeness import completeness
from crater_model.mapping.craters import Craters
from crater_model.mapping.maps import Map
from crater_model.mapping.write import write_maps
from tests.mapping.grounds import SIZE, crater_map, image, px_map


def test_report(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, SIZE[::-1], dtype=np.uint8)
    made = crater_map(open=lambda: ArrayRaster(pixels), name="<scene>.tif")
    write_maps(tmp_path / "known.csv", [crater_map()])
    known = catalogue.load(tmp_path / "known.csv")
    page = write_maps(tmp_path / "a.html", [made], catalogue=known,
                      parameters={"threshold": 0.5}).read_text()
    assert len(page) < 2e6 and page.count("src='data:image/png;base64,") == 9
    assert "src='http" not in page and "&lt;scene&gt;.tif" in page and "<scene>" not in page
    for text in ("Moon", "IAU_2015:30100", "km²", "threshold", "5 craters", "The faintest",
                 "R plot", "5 were found by outline and 5 by the catalogue rule"):
        assert text in page, text
    px = write_maps(tmp_path / "px.html", [px_map()]).read_text()
    assert "no georeference" in px and px.count("<img") == 2
    empty = Map("e", Craters.empty((300, 500)), image("180"))
    assert "<td>0</td>" in write_maps(tmp_path / "e.html", [empty], catalogue=known).read_text()


def test_completeness_by_size(tmp_path):
    """Of circles of 10, 4, 2.2 and 1.6 km in the image the first two are found; a fifth lies
    beside it."""
    made = crater_map("70 S")
    (tmp_path / "known.csv").write_text("lon,lat,diameter_km\n" + "".join(
        f"{row.lon_deg},{row.lat_deg},{d}\n" for row, d in zip(
            made.table.itertuples(), (10, 4, 2.2, 1.6))) + "0,0,8\n")
    found = Map("a", made.craters.select(np.arange(2)), made.georeference)
    table = completeness([found], catalogue.load(tmp_path / "known.csv"))
    assert table["known"].sum() == 4 and table["known"].iloc[-1] == 1
    assert table["outline"].tolist() == table["catalogue"].tolist()
    assert table["outline"].sum() == 2 and table["outline"].iloc[-1] == 1
    assert table["d_min_km"].iloc[0] == pytest.approx(2**0.5)


def test_catalogues_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match="absent.csv: does not exist"):
        catalogue.load(tmp_path / "absent.csv")
    (tmp_path / "a.csv").write_text("lon,lat,diameter_km\n1,95,3\n")
    with pytest.raises(DataProblems, match="row 2 has the latitude 95"):
        catalogue.load(tmp_path / "a.csv")
