"""Catalogues over GeoTIFFs made on the spot."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from crater_model.errors import DataError
from crater_model.importing.formats import catalogue
from crater_model.importing.formats.source import Notes, Source

WIDTH, HEIGHT = 200, 120
STEP = 1000.0  # m per px
MOON = 1737400.0
DEGREE = MOON * math.pi / 180
EQC = "IAU_2015:30110"


def image(path: Path, crs: str | None = EQC, west: float = -1e5, north: float = 6e4,
          step: float = STEP) -> Path:
    place = {} if crs is None else {
        "crs": crs, "transform": rasterio.Affine(step, 0, west, 0, -step, north)}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=1,
                       dtype="uint8", **place) as out:
        out.write(np.zeros((1, HEIGHT, WIDTH), np.uint8))
    return path


def read(folder: Path):
    source, notes = Source(folder), Notes()
    files = catalogue.recognise(source)
    return catalogue.read(source, files, notes), notes


def table(folder: Path, text: str | bytes, name: str = "craters.csv"):
    image(folder / "map.tif")
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(folder)


def only(reading):
    assert len(reading.images) == 1
    return reading.images[0].labels


def at(lon: float, lat: float) -> tuple[float, float]:
    return 100 + lon * DEGREE / STEP, 60 - lat * DEGREE / STEP


# The first lines of each, with the craters' places put into the image.
KNOWN = {
    "robbins_circle": ("CRATER_ID,LAT_CIRC_IMG,LON_CIRC_IMG,DIAM_CIRC_IMG,DIAM_CIRC_SD_IMG\n"
                       "00-1-000000,-0.5,359.5,20,1\n02-1-1,1,1.5,8,1\n"),
    "mars": ("CRATER_ID\tLATITUDE_CIRCLE_IMAGE\tLONGITUDE_CIRCLE_IMAGE\tDIAM_CIRCLE_IMAGE\n"
             "01-000000\t-0.5\t-0.5\t20\n01-000001\t1\t1.5\t8\n"),
    "head": "Lon,Lat,Diam_km\r-0.5,-0.5,20\r1.5,1,8\r",
    "lroc": ",Unnamed: 0,Diameter (km),Long,Lat,tag\n0,0,20,-0.5,-0.5,standard\n1,1,8,1.5,1,?\n",
    "lu78287gt": ("ID,Long,Lat,Radius (deg),Diameter (km),D_range,p,Name\n"
                  "1,-0.5,-0.5,0.33,20,1,1,Salamuni\xe6ar\n2,1.5,1,0.13,8,1,1,\n"),
    "plain": "lon_e360,lat,diameter_km,catalogue\n359.5,-0.5,20,head\n1.5,1,8,lroc\n",
    "words": ("Name;Latitude [deg];Longitude [deg E];Diameter [m]\n"
              "a;-0,5;-0,5;20000\nb;1;1,5;8000\n"),
    "radius": "latitude\tlongitude\tradius_km\n-0.5\t-0.5\t10\n1\t1.5\t4\n",
    "radius_m": "# from a map\n\nlat,lon,r_m\n-0.5,-0.5,10000\n1,1.5,4000\n",
    "comment": "# lon,lat,d_km\n-0.5,-0.5,20\n1.5,1,8\n",
    "both": "lon,lat,radius_km,diameter_m,diam_km\n-0.5,-0.5,1,2,20\n1.5,1,1,2,8\n",
    "quoted": 'name,"lon","lat","diam_km"\n"a, b",-0.5,-0.5,"20"\n,1.5,1,8\n'}


@pytest.mark.parametrize("name", KNOWN)
def test_known_columns(tmp_path, name):
    reading, notes = table(tmp_path, KNOWN[name].encode("latin-1"))
    assert (notes.problems, notes.warnings) == ([], [])
    first, second = only(reading)
    for label, lon, lat, km in ((first, -0.5, -0.5, 20), (second, 1.5, 1, 8)):
        assert label.centre == pytest.approx(at(lon, lat))
        assert (label.diameter_km, label.name, label.source) == (km, "crater", "catalogue")
        low, high = label.rings[0].min(axis=0), label.rings[0].max(axis=0)
        assert (low + high) / 2 == pytest.approx(at(lon, lat), abs=0.01)
        assert high - low == pytest.approx([km / math.cos(math.radians(lat)), km], rel=2e-3)
    rows = {"radius_m": (4, 5)}.get(name, (2, 3))
    assert [label.where for label in (first, second)] == [f"craters.csv: row {n}" for n in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path, encoding):
    reading, notes = table(tmp_path, "Größe,lon,lat,diam_km (°é)\né,1,0.5,8\n".encode(encoding))
    assert only(reading)[0].centre == pytest.approx(at(1, 0.5)) and not notes.problems


def test_a_diameter_without_a_unit_is_km_and_noted(tmp_path):
    reading, notes = table(tmp_path, "lon,lat,diameter\n1,0,8\n0,0,9\n")
    assert [label.diameter_km for label in only(reading)] == [8, 9]
    assert notes.warnings == ["2 diameter(s) without a unit were taken as km, first: craters.csv"]


def test_of_a_circle_and_an_ellipse_the_circle_counts(tmp_path):
    """Nobody has written down how the catalogue counts its ellipses' angles."""
    reading, notes = table(tmp_path, (
        "CRATER_ID,LAT_CIRC_IMG,LON_CIRC_IMG,LAT_ELLI_IMG,LON_ELLI_IMG,DIAM_CIRC_IMG,"
        "DIAM_ELLI_MAJOR_IMG,DIAM_ELLI_MINOR_IMG,DIAM_ELLI_ANGLE_IMG\n"
        "a,0.1,0.1,0,0,30,40,20,30\nb,0.5,1,,,12,,,\n"))
    a, b = only(reading)
    assert a.centre == pytest.approx(at(0.1, 0.1)) and a.diameter_km == 30
    assert np.ptp(a.rings[0], axis=0) == pytest.approx([30, 30], abs=0.05)
    assert b.diameter_km == 12 and not notes.problems and not notes.warnings


def test_bad_rows_are_named_and_the_others_read(tmp_path):
    reading, notes = table(tmp_path, (
        "lon,lat,diam_km\n"
        "1,0,8\nx,0,8\n1,95,8\n361,0,8\n1,0,0\n1,0,-3\n1,nan,3\n1,0,inf\n1,0\n\n,,\n0,0,9\n\n"))
    assert [label.where for label in only(reading)] == ["craters.csv: row 2", "craters.csv: row 13"]
    assert set(notes.problems) == {f"craters.csv: row {row} {text}; correct it" for row, text in (
        (3, "has the longitude nan, expected -360..360"),
        (4, "has the latitude 95, expected -90..90"),
        (5, "has the longitude 361, expected -360..360"),
        (6, "has the diameter 0 km, expected a number above 0"),
        (7, "has the diameter -3 km, expected a number above 0"),
        (8, "has the latitude nan, expected -90..90"),
        (9, "has the diameter inf km, expected a number above 0"),
        (10, "has the diameter nan km, expected a number above 0"))}


def test_many_bad_rows_make_few_problems(tmp_path):
    reading, notes = table(tmp_path, "lon,lat,diam_km\n" + "0,99,5\n" * 150_000 + "0,0,5\n0,0,x\n")
    assert [label.where for label in only(reading)] == ["craters.csv: row 150002"]
    assert len(notes.problems) == 101
    assert notes.problems[-1] == ("craters.csv: 149901 more rows cannot be used either; correct "
                                  "them")


def test_small_rims_have_few_points_and_stay_true(tmp_path):
    reading, _ = table(tmp_path, "lon,lat,diam_km\n0,0,4.9\n1,0,19.9\n-1,0,21\n")
    assert [len(label.rings[0]) for label in only(reading)] == [16, 32, 64]
    for label, radius in zip(only(reading), (2.45, 9.95, 10.5)):
        ring = label.rings[0]
        middles = (ring + np.roll(ring, 1, axis=0)) / 2
        assert np.hypot(*(middles - label.centre).T) == pytest.approx(
            np.full(len(ring), radius), abs=0.055)


def test_every_image_gets_its_own_craters(tmp_path):
    """Three tiles in two systems, one across 180 deg, and an image without a place."""
    image(tmp_path / "a.tif")
    image(tmp_path / "b.tif", west=1e5)
    image(tmp_path / "c.tif", "IAU_2015:30100", 178.0, 1.5, 0.02)
    image(tmp_path / "d.tif", None)
    (tmp_path / "x.csv").write_text(
        "lon,lat,diam_km\n0,0,9\n4,0.5,9\n180.5,0.3,9\n-179,1,9\n90,0,9\n")
    reading, notes = read(tmp_path)
    assert [(i.path.name, [label.where for label in i.labels]) for i in reading.images] == [
        ("a.tif", ["x.csv: row 2"]), ("b.tif", ["x.csv: row 3"]),
        ("c.tif", ["x.csv: row 4", "x.csv: row 5"])]
    assert reading.images[1].labels[0].centre == pytest.approx(
        (4 * DEGREE / 1000 - 100, 60 - DEGREE / 2000))
    assert reading.images[2].labels[0].centre == pytest.approx((125, 60))
    assert reading.images[2].labels[1].centre == pytest.approx((150, 25))
    assert notes.warnings == [
        "1 image(s) without a georeference were left out, first: d.tif",
        "1 crater(s) of the catalogue lie in no image, first: x.csv: row 6"]


def test_the_image_edge_belongs_to_one_image(tmp_path):
    image(tmp_path / "a.tif", "IAU_2015:30100", 0, 1, 0.02)
    image(tmp_path / "b.tif", "IAU_2015:30100", 4, 1, 0.02)
    (tmp_path / "x.csv").write_text("lon,lat,diam_km\n4,0,9\n")
    reading, _ = read(tmp_path)
    assert [len(i.labels) for i in reading.images] == [0, 1]


def test_no_image_has_a_place(tmp_path):
    image(tmp_path / "a.tif", None)
    (tmp_path / "x.csv").write_text("lon,lat,diam_km\n4,0,9\n")
    with pytest.raises(DataError, match=r"1 image\(s\) without and none with a georeference"):
        read(tmp_path)


def test_a_broken_image_is_a_problem(tmp_path):
    (tmp_path / "b.tif").write_bytes(b"II*\0nothing")
    reading, notes = table(tmp_path, "lon,lat,diam_km\n1,0,9\n")
    assert [i.path.name for i in reading.images] == ["map.tif"]
    assert len(notes.problems) == 1 and "b.tif: cannot be read as an image" in notes.problems[0]


def test_what_shows_nothing_or_cannot_be_drawn_is_counted(tmp_path):
    image(tmp_path / "pole.tif", "IAU_2015:30100", 0, 90, 0.02)
    (tmp_path / "x.csv").write_text("lon,lat,diam_km\n1,89.9,50\n1,88,0.02\n1,88.5,20\n1,88,6000\n")
    reading, notes = read(tmp_path)
    assert [label.where for label in only(reading)] == ["x.csv: row 4"]
    assert notes.warnings == [
        "1 crater(s) larger than their image or body were left out (is that km, or m?), first: "
        "x.csv: row 5 with 6000 km (the image pole.tif is 72.78 km wide, the body 3475 km)",
        "1 crater(s) of less than a pixel across were left out, first: x.csv: row 3",
        "1 crater(s) were left out that the image's projection cannot show whole, first: "
        "x.csv: row 2"]
    assert not notes.problems


def test_planetocentric_latitudes_on_an_ellipsoid(tmp_path):
    """Robbins's are known to be; those of others are taken as the image's system counts."""
    crs = pyproj.CRS.from_user_input("IAU_2015:49901").ellipsoid
    wkt = f"+proj=longlat +a={crs.semi_major_metre} +rf={crs.inverse_flattening}"
    image(tmp_path / "m.tif", wkt, 0, 46, 0.02)
    (tmp_path / "x.csv").write_text("lon,lat,diam_km\n1,45,30\n")
    (tmp_path / "y.csv").write_text("LAT_CIRC_IMG,LON_CIRC_IMG,DIAM_CIRC_IMG\n45,1,30\n")
    plain, robbins = only(read(tmp_path)[0])
    geodetic = math.degrees(math.atan(1 / (1 - 1 / crs.inverse_flattening) ** 2))
    assert plain.centre == pytest.approx((50, 50))
    assert robbins.centre == pytest.approx((50, (46 - geodetic) / 0.02))


@pytest.mark.parametrize("header, known", [
    ("lon,lat,diam_km", True), ("Center_Longitude,Center_Latitude,Diameter", True),
    ("LON;LAT;D [km]", True), ("a\tlongitude_e\tlatitude\tradius", True),
    ("lon,lat", False), ("lat,diam_km", False), ("lon lat diam_km", True), ("", False),
    ("filename,file_size,file_attributes,region_count,region_id,region_shape_attributes", False),
    ("lon,lat,Radius (deg)", False), ("lon,lat,diameter_px", False), ("0 0.5 0.5 0.1 0.1", False),
    ("x,y,diameter_km", False), ('"lon,lat,diam_km', False)])
def test_recognised_by_its_columns(tmp_path, header, known):
    (tmp_path / "a.csv").write_text(header + "\n1,2,3\n")
    assert bool(catalogue.recognise(Source(tmp_path))) is known


@pytest.mark.parametrize("data", [
    b"", b"\xff\xfe", b"\0" * 100, b"lon,lat,diam_km", b"\xff\xfel\0o\0n", b"\n\n\n", b"," * 5000])
def test_recognise_never_raises(tmp_path, data):
    (tmp_path / "a.csv").write_bytes(data)
    (tmp_path / "b.txt").write_bytes(data)
    catalogue.recognise(Source(tmp_path))


@pytest.mark.parametrize("data", [
    b"lon,lat,diam_km", b"lon,lat,diam_km\n", b"lon,lat,diam_km\n1,0",
    b"lon,lat,diam_km\n\0\0\0\n", b"lon,lat,diam_km\n\xff\xfe\xfd,1,2\n",
    "lon,lat,diam_km\n1,0,5\n".encode("utf-16")[:-1],
    b"lon,lat,diam_km\n1e999,0,5\n1,0,1e-320\n1,0,1e300\n"])
def test_damaged_tables_end_in_words(tmp_path, data):
    reading, notes = table(tmp_path, data)
    for label in only(reading):
        assert np.isfinite(label.rings[0]).all()


def test_an_open_quote_is_one_line(tmp_path):
    with pytest.raises(DataError, match="craters.csv: cannot be read as a table") as error:
        table(tmp_path, 'lon,lat,diam_km\n"1,0,5\n' + "1,0,5\n" * 50)
    assert "\n" not in str(error.value)


def test_a_named_file_without_columns(tmp_path):
    image(tmp_path / "map.tif")
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    source = Source(tmp_path)
    with pytest.raises(DataError, match="has no columns for longitude, latitude and diameter"):
        catalogue.read(source, [tmp_path / "a.csv"], Notes())


@settings(deadline=None, max_examples=40)
@given(st.binary(max_size=300))
def test_any_bytes_below_a_header(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    try:
        table(folder, b"lon,lat,diam_km\n" + data)
    except DataError as error:
        assert "\n" not in str(error)


@pytest.mark.slow
def test_a_million_rows_take_little_time_and_memory(tmp_path):
    rng = np.random.default_rng(0)
    n = 1_300_000
    rows = np.stack([rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n))),
                     rng.uniform(1, 20, n)], axis=1)
    image(tmp_path / "a.tif")
    image(tmp_path / "b.tif", west=1e6)
    with (tmp_path / "x.csv").open("w") as file:
        file.write("LON_CIRC_IMG,LAT_CIRC_IMG,DIAM_CIRC_IMG\n")
        np.savetxt(file, rows, fmt="%.5f", delimiter=",")
    tracemalloc.start()
    reading, notes = read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    share = WIDTH * HEIGHT * STEP**2 / (4 * math.pi * MOON**2)
    assert sum(len(i.labels) for i in reading.images) == pytest.approx(2 * n * share, rel=0.1)
    assert peak < 500e6 and not notes.problems


@pytest.fixture(scope="module")
def moon(real_data):
    folder = real_data / "moon_geo"
    source = Source(folder / "catalogue_global.csv", folder / "moon_gld100_hillshade_eqc.tif")
    notes = Notes()
    reading = catalogue.read(source, catalogue.recognise(source), notes)
    return folder, only(reading), notes


def test_the_moon_s_catalogue_is_its_annotations(moon):
    """The annotations' circles are widened by 1/cos(lat) of the centre, ours are true."""
    import json

    folder, labels, notes = moon
    assert not notes.problems
    truth = json.loads((folder / "annotations.json").read_text())["annotations"]
    known = {(round(a["lon_e360"], 6), round(a["lat"], 6), a["diameter_km"]): a for a in truth}
    labels = [label for label in labels if label.diameter_km <= 400]
    used, off = set(), []
    for label in labels:
        x, y = label.centre
        key = (round(190 + x / 64, 6), round(32 - y / 64, 6), label.diameter_km)
        annotation = known.get(key)
        assert annotation is not None, label.where
        used.add(annotation["id"])
        ring = label.rings[0]
        if (ring.min() > 0) and (ring.max() < 4096):
            left, top, width, height = annotation["bbox"]
            low, high = ring.min(axis=0), ring.max(axis=0)
            off.append(np.abs((low + high) / 2 - [left + width / 2, top + height / 2]).max())
            if label.diameter_km < 100:
                assert (high - low) == pytest.approx([width, height], abs=1.0)
    centred = {a["id"] for a in truth if 190 <= a["lon_e360"] < 254 and abs(a["lat"]) < 32}
    assert used == centred and len(used) == len(labels) > 3500
    assert len(off) > 3300 and max(off) < 1.0


@pytest.mark.parametrize("text", [
    "name,lat,Longitude (W),diam_km\na,1,358.5,8\n", "lat,lon,d_km\n1N,358.5W,8\n",
    "# longitudes positive west\nlat,lon,d_km\n1,358.5,8\n", "lat,lon_w,d_km\n1,-1.5,8\n",
    "name,Coordinates,d_km\na,\"1N,358.5W\",8\n", "name,Coordinates,d_km\na,1N,358.5W,8\n",
    "d_km\tCoordinates\n8\t1°0'N 1°30'E\n", "lat,lon,d_km,Coordinate System\n1,-1.5,8,\"+West\"\n"])
def test_longitudes_to_the_west(tmp_path, text):
    reading, notes = table(tmp_path, text)
    label, = only(reading)
    assert label.centre == pytest.approx(at(1.5, 1)) and not notes.problems


def test_a_gazetteer_s_craters(tmp_path):
    """Mirrored, made planetocentric on the sphere, without what is no crater; rows that do not
    say the way are problems."""
    image(tmp_path / "m.tif", "IAU_2015:49900", 300, 46, 0.02)
    system = "Planetographic, +West, 0 - 360"
    (tmp_path / "x.csv").write_text(
        "Feature Name,Diameter,Center Latitude,Center Longitude,Coordinate System,Feature Type\n"
        f'A,30,45,58.5,"{system}","Crater, craters"\n'
        f'B,30,45,58.5,"{system}","Terra, terrae"\n'
        'C,30,45,301,"Planetocentric, +East, 0 - 360","Crater, craters"\n'
        'D,30,45,301,Planetographic,"Crater, craters"\n')
    reading, notes = read(tmp_path)
    squeeze = (1 - 1 / 169.894447223612) ** 2
    assert [label.centre for label in only(reading)] == [
        pytest.approx((75, (46 - math.degrees(math.atan(squeeze))) / 0.02)),
        pytest.approx((50, 50))]
    assert notes.problems == [
        "x.csv: row 5 says 'Planetographic' and not which way its longitudes count, which "
        "planetographic systems do either way; add +West or +East"]
    assert any("no craters were not read, first: x.csv: row 3 (Terra, terrae)" in line
               for line in notes.warnings)


def test_words_between_spaces(tmp_path):
    reading, notes = table(tmp_path, "# lon   lat diam_km  class\n 1.5   1  8 old\n-0.5 -0.5 20 new\n",
                           "craters.txt")
    assert [(label.centre, label.diameter_km, label.name) for label in only(reading)] == [
        (pytest.approx(at(1.5, 1)), 8, "old"), (pytest.approx(at(-0.5, -0.5)), 20, "new")]
    assert not notes.problems


SCC = """# Spatial crater count for Craterstats
a_axis_radius = {radius} <km>
coordinate_system_name = "Moon_2000"
unit_boundary = {{vertex, sub_area, tag, lon, lat
1\t1\text\t-1\t-1
}}
Total_area = 10 <km^2>
crater = {{diam, fraction, lon, lat, topo_scale_factor
8\t1\t1.5\t1\t1
x\t1\t0\t0\t1
}}
"""


def test_a_count_of_craterstats(tmp_path):
    reading, notes = table(tmp_path, SCC.format(radius=1737.4), "a_count.scc")
    label, = only(reading)
    assert (label.centre, label.diameter_km) == (pytest.approx(at(1.5, 1)), 8)
    assert notes.problems == ["a_count.scc: row 10 has the diameter nan km, expected a number above "
                              "0; correct it"]
    with pytest.raises(DataError, match="counts on a body of 3396 km radius, but map.tif shows one"):
        table(tmp_path, SCC.format(radius=3396), "a_count.scc")


def test_a_count_without_places(tmp_path):
    with pytest.raises(DataError, match="its craters have no lon nor lat .got diameter, fraction."):
        table(tmp_path, "area = 10\ncrater = {diameter, fraction\n8\t1\n}\n", "b.diam")


@pytest.mark.parametrize("header, value, km", [
    ("diameter", 8000, 8), ("radius", 4000, 8), ("diameter", 8, 8), ("diameter_m", 8000, 8)])
def test_the_unit_is_that_which_fits_the_image(tmp_path, header, value, km):
    """The image is 200 km wide, with 1 km a px."""
    reading, notes = table(tmp_path, f"lon,lat,{header}\n1,0.5,{value}\n0,0,{value}\n")
    assert [label.diameter_km for label in only(reading)] == [pytest.approx(km)] * 2
    taken = [line for line in notes.warnings if "without a unit were taken as" in line]
    assert len(taken) == ("_m" not in header)
    assert all(("as m (as km" in line) == (value > 1000) for line in taken)


def test_a_unit_that_cannot_be_known(tmp_path):
    image(tmp_path / "map.tif", west=-10.0, north=6.0, step=0.1)  # 20 m of ground
    with pytest.raises(DataError, match="fit neither as km .larger than the image. nor as m"):
        table_of(tmp_path, "lon,lat,diameter\n0,0,0.3\n")
    image(tmp_path / "map.tif", west=-1e4, north=6e3, step=0.1 * STEP)
    image(tmp_path / "wide.tif", west=-1e5, north=6e4, step=1000)
    (tmp_path / "wide.tif").unlink()
    with rasterio.open(tmp_path / "map.tif", "w", driver="GTiff", width=6000, height=4000, count=1,
                       dtype="uint8", crs=EQC, transform=rasterio.Affine(1, 0, -3e3, 0, -1, 2e3)) as out:
        out.write(np.zeros((1, 4000, 6000), np.uint8))
    with pytest.raises(DataError, match="may be km or m, and both would fit; name its unit, as "
                                        "diameter_km or diameter_m"):
        table_of(tmp_path, "lon,lat,diameter\n0,0,5.5\n0.01,0.01,5.8\n")


def table_of(folder: Path, text: str):
    (folder / "craters.csv").write_text(text)
    return read(folder)


def test_craters_larger_than_the_image(tmp_path):
    with pytest.raises(DataError, match=r"2 of 2 craters are larger than their image or body; if "
                                        r"'diam_km' is in m, name it so"):
        table(tmp_path, "lon,lat,diam_km\n1,0.5,8000\n0,0,900\n")
    reading, notes = table(tmp_path, "lon,lat,diam_km\n1,0.5,250\n0,0,9\n0,1,9\n")
    assert [label.diameter_km for label in only(reading)] == [9, 9]
    assert notes.warnings == [
        "1 crater(s) larger than their image or body were left out (is that km, or m?), first: "
        "craters.csv: row 2 with 250 km (the image map.tif is 200 km wide, the body 3475 km)"]


def test_classes_of_a_table(tmp_path):
    reading, _ = table(tmp_path, "lon,lat,diam_km,Type\n1,0.5,9,boulder\n0,0,9,Crater\n0,1,9,\n")
    assert [label.name for label in only(reading)] == ["boulder", "Crater", "crater"]
    reading, _ = table(tmp_path, "lon,lat,diam_km,class,type\n1,0.5,9,2,3\n0,0,9,1,4\n")
    assert [label.name for label in only(reading)] == ["2", "1"]
    reading, _ = table(tmp_path, "lon,lat,diam_km,type\n1,0.5,9,2\n0,0,9,1\n")
    assert {label.name for label in only(reading)} == {"crater"}
