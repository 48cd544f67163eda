"""Where images lie, and what is said of those that do not say it."""

from __future__ import annotations

import cv2
import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.control import GroundControlPoint

from crater_model.errors import DataError
from crater_model.imagery.body import body_of
from crater_model.imagery.georeference import Georeference
from crater_model.imagery.projection import latitudes_unsaid
from crater_model.imagery.raster import open_raster, read_header
from tests.imagery.test_raster import tiff

W, H = 90, 60
MOON = "+proj=eqc +R=1737400 +units=m"
PLACE = rasterio.Affine(100.0, 0, 30323.0, 0, -100.0, 60646.0)
AT = [[1.0, 2.0]]  # deg, of its upper left corner, to 1e-4
VALUES = np.random.default_rng(0).integers(1, 255, (H, W), dtype=np.uint8)


def lonlat(path, point=(0, 0)) -> np.ndarray:
    """Of a point in px; the header says the same as the open image."""
    header = read_header(path)
    with open_raster(path) as raster:
        assert raster.georeference == header.georeference and raster.lacks == header.lacks
    assert header.lacks == ""
    return header.georeference.lonlat([point])


@pytest.mark.parametrize("suffix, world", [(".png", ".pgw"), (".jpg", ".jgw"), (".jpeg", ".wld")])
def test_world_files_of_8_bit_pictures(tmp_path, suffix, world):
    path = tmp_path / f"a{suffix}"
    cv2.imwrite(str(path), VALUES)
    path.with_suffix(world).write_text("100\n0\n0\n-100\n30373\n60596\n")
    assert read_header(path).lacks == "has a transform but no coordinate system"
    (tmp_path / f"a{suffix}.aux.xml").write_text(
        f"<PAMDataset><SRS>{pyproj.CRS(MOON).to_wkt()}</SRS></PAMDataset>".replace('"', "&quot;"))
    np.testing.assert_allclose(lonlat(path), AT, atol=1e-4)


def points(bend=0.0, number=3):
    return [GroundControlPoint(row=y, col=x, x=30323 + 100 * x + bend * y * y, y=60646 - 100 * y)
            for x in np.linspace(0, W, number) for y in np.linspace(0, H, number)]


def test_control_points(tmp_path):
    path = tmp_path / "a.tif"
    tiff(path, VALUES, gcps=points(), crs=MOON)
    np.testing.assert_allclose(lonlat(path), AT, atol=1e-4)
    tiff(path, VALUES, gcps=points(bend=0.5), crs=MOON)  # 4.5 px at the middle row
    header = read_header(path)
    assert header.georeference is None
    assert "has 9 ground control points, which no transform fits" in header.lacks
    tiff(path, VALUES, gcps=points(number=1) * 3, crs=MOON)
    assert "span no plane" in read_header(path).lacks


@pytest.mark.parametrize("more, lacks", [
    ({}, "has no georeference"),
    ({"transform": PLACE}, "has a transform but no coordinate system"),
    ({"crs": MOON}, "has a coordinate system but no transform"),
    ({"transform": PLACE, "crs": 'LOCAL_CS["mine",UNIT["metre",1]]'},
     "is in the engineering system 'mine', of no body"),
])
def test_what_is_missing_is_named(tmp_path, more, lacks):
    path = tiff(tmp_path / "a.tif", VALUES, **more)
    assert read_header(path) == (W, H, None, lacks)
    with open_raster(path) as raster:
        assert raster.georeference is None and raster.lacks == lacks
        np.testing.assert_array_equal(raster.read(0, 0, W, H).pixels, VALUES)


CUBE = """Object = IsisCube
  Object = Core
    StartByte = 4097
    Format = BandSequential
    Group = Dimensions
      Samples = 90
      Lines = 60
      Bands = 1
    End_Group
    Group = Pixels
      Type = UnsignedByte
      ByteOrder = Lsb
      Base = 0.0
      Multiplier = 1.0
    End_Group
  End_Object
  Group = Mapping
    TargetName = Moon
    ProjectionName = {name}
    EquatorialRadius = 1737400.0 <meters>
    PolarRadius = 1737400.0 <meters>
    LatitudeType = Planetocentric
    LongitudeDirection = PositiveEast
    LongitudeDomain = 180 <degrees>
    PixelResolution = 100.0 <meters/pixel>
    UpperLeftCornerX = 30323.0 <meters>
    UpperLeftCornerY = 60646.0 <meters>
{more}
  End_Group
End_Object
End
"""


@pytest.mark.parametrize("name, more, placed", [
    ("IProj", '    ProjStr = "+proj=eqc +R=1737400 +units=m"', True), ("IProj", "", False),
    ("Hatano", "", False)])
def test_a_cube_whose_projection_gdal_does_not_know(tmp_path, name, more, placed):
    path = tmp_path / "a.cub"
    path.write_bytes(CUBE.format(name=name, more=more).encode().ljust(4096) + VALUES.tobytes())
    if placed:
        np.testing.assert_allclose(lonlat(path), AT, atol=1e-4)
    else:
        assert f"its projection is {name}" in read_header(path).lacks
    with open_raster(path) as raster:
        np.testing.assert_array_equal(raster.read(0, 0, W, H).pixels, VALUES)


CODES = ("IAU_2015:49910", "IAU_2015:49911", "IAU_2015:49912", "IAU_2015:49917", "IAU_2015:49932",
         "IAU_2015:49902", "IAU_2015:49901", "IAU_2015:19912", "IAU_2015:59912")


def centres(code: str) -> tuple[rasterio.Affine, np.ndarray]:
    """A transform around a place of a system, and longitude and latitude there as PROJ gives them
    for the code itself."""
    crs = pyproj.CRS(code)
    base = crs.geodetic_crs
    north = 75.0 if crs.is_projected and "Polar" in crs.name else -20.0
    if not crs.is_projected:
        return rasterio.Affine(0.01, 0, 60.0 - 0.45, 0, -0.01, north + 0.3), np.array([60.0, north])
    x, y = pyproj.Transformer.from_crs(base, crs).transform(north, 60.0) if (
        base.axis_info[0].direction == "north") else (
        pyproj.Transformer.from_crs(base, crs).transform(60.0, north))
    return rasterio.Affine(100, 0, x - 4500, 0, -100, y + 3000), np.array([60.0, north])


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("way", ["GeoTIFF", "WKT1_GDAL", "WKT1_ESRI", "WKT2_2019"])
def test_latitudes_are_those_of_the_code(tmp_path, code, way):
    """In its own kind of latitude, whatever form the system has come through."""
    transform, (lon, lat) = centres(code)
    crs = pyproj.CRS(code)
    if way == "GeoTIFF":
        path = tiff(tmp_path / "a.tif", VALUES, crs=code, transform=transform)
        place = read_header(path).georeference
    else:
        place = Georeference(crs.to_wkt(way), tuple(transform)[:6], W, H)
    found = place.lonlat([[W / 2, H / 2]])[0]
    if crs.geodetic_crs.coordinate_system.name == "spherical":  # to what `lonlat` gives
        ratio = crs.ellipsoid.semi_minor_metre / crs.ellipsoid.semi_major_metre
        lat = np.degrees(np.arctan(np.tan(np.radians(lat)) / ratio**2))
    assert found[1] == pytest.approx(lat, abs=1e-6)
    # The codes of planetographic systems count longitudes to the west, which all but WKT 2 lose.
    assert (abs(found[0]) if "Ographic" in crs.name else found[0]) == pytest.approx(lon, abs=1e-6)


def test_what_a_system_does_not_say_of_its_latitudes_is_said(tmp_path):
    silent = "+proj=eqc +a=3396190 +b=3376200 +units=m"
    assert latitudes_unsaid(silent)
    for code in (*CODES, "EPSG:4326", "EPSG:32633", MOON):
        assert not latitudes_unsaid(code), code
    with open_raster(tiff(tmp_path / "a.tif", VALUES, crs=silent, transform=PLACE)) as raster:
        assert "does not say of which kind its latitudes are" in raster.remarks[0]
    with open_raster(tiff(tmp_path / "b.tif", VALUES, crs=CODES[2], transform=PLACE)) as raster:
        assert raster.remarks == ()


@pytest.mark.parametrize("name", ["wld.png", "gcp.tif", "iproj.cub", "mosaic.vrt"])
def test_the_cases_that_have_a_place(cases, name):
    wanted = read_header(cases / "place" / "moon_eqc.tif").georeference.lonlat([[100, 700]])
    np.testing.assert_allclose(lonlat(cases / "place" / name, (100, 700)), wanted, atol=1e-6)


@pytest.mark.parametrize("code, lat", [("49910", -20.0), ("49912", -20.0)])
def test_the_cases_of_mars(cases, code, lat):
    place = read_header(cases / "directions" / f"mars_{code}.tif").georeference
    crs = pyproj.CRS(f"IAU_2015:{code}")
    a, _, c, _, e, f = place.transform
    given = pyproj.Transformer.from_crs(crs, crs.geodetic_crs).transform(c + 200 * a, f + 200 * e)
    lonlat_there = body_of(place).from_geodetic(place.lonlat([[200, 200]]), place)[0]
    assert sorted(given) == pytest.approx(sorted(lonlat_there.tolist()), abs=1e-9)


def test_a_system_that_is_no_system_is_still_refused(tmp_path):
    path = tiff(tmp_path / "a.tif", VALUES, crs=pyproj.CRS("EPSG:4978").to_wkt(), transform=PLACE)
    with pytest.raises(DataError, match="a.tif: the coordinate system .* has no longitude"):
        read_header(path)
