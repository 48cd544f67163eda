"""Images in other formats, in archives and behind addresses, read in windows."""

from __future__ import annotations

import urllib.request
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio import shutil

from crater_model.errors import DataError
from crater_model.imagery.addresses import gdal_name, is_remote, suffix
from crater_model.imagery.raster import open_raster, read_header
from crater_model.importing.formats.source import Source
from tests.cloud import BUCKET, gcs_server
from tests.imagery.ranges import archive, sent
from tests.imagery.test_raster import tiff

W, H = 700, 500
MOON = "+proj=eqc +R=1737400 +units=m"
PLACE = {"crs": MOON, "transform": rasterio.Affine(100.0, 0, 30323.0, 0, -100.0, 60646.0)}
VALUES = np.random.default_rng(0).integers(1, 255, (H, W), dtype=np.uint8)


def same(path, values=VALUES, placed=True) -> None:
    header = read_header(path)
    with open_raster(path) as raster:
        assert header[:2] == (raster.width, raster.height) == values.shape[::-1]
        np.testing.assert_array_equal(raster.read(40, 30, 300, 200).pixels, values[30:230, 40:340])
        assert raster.georeference == header.georeference and raster.name == path
    assert (header.georeference is not None) is placed
    if placed:
        np.testing.assert_allclose(header.georeference.lonlat([[0, 0]]), [[1.0, 2.0]], atol=1e-4)


@pytest.mark.parametrize("driver, name", [
    ("ENVI", "a.bsq"), ("EHdr", "a.bil"), ("ERS", "a.ers"), ("HFA", "a.img"), ("NITF", "a.ntf"),
    ("JP2OpenJPEG", "a.jp2"), ("PCIDSK", "a.pix"), ("SAGA", "a.sdat")])
def test_other_formats(tmp_path, driver, name):
    path = tmp_path / name
    more = {"JP2OpenJPEG": {"quality": "100", "reversible": "yes"}, "NITF": {}}.get(driver, {})
    place = {} if driver == "NITF" else PLACE  # which has places on the Earth alone
    values = VALUES.astype(np.float32) if driver == "SAGA" else VALUES
    with rasterio.open(tiff(tmp_path / "a.tif", values, **place)) as source:
        shutil.copy(source, str(path), driver=driver, **more)
    if driver == "SAGA":
        with open_raster(path) as raster:
            assert raster.dtype == np.float32 and raster.stretch.low < raster.stretch.high
        return
    same(path, placed=driver not in ("NITF", "ERS"))
    if driver == "ERS":  # it knows systems by names of its own, and no Moon
        assert read_header(path).lacks == "has a transform but no coordinate system"


def vrt(path, file: str, more="") -> None:
    path.write_text(
        f'<VRTDataset rasterXSize="{W}" rasterYSize="{H}"><SRS>{MOON}</SRS>'
        "<GeoTransform>30323, 100, 0, 60646, 0, -100</GeoTransform>"
        f'<VRTRasterBand dataType="Byte" band="1">{more}<SimpleSource>'
        f'<SourceFilename relativeToVRT="1">{file}</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="{W}" ySize="{H}"/>'
        f'<DstRect xOff="0" yOff="0" xSize="{W}" ySize="{H}"/></SimpleSource></VRTRasterBand>'
        "</VRTDataset>")


def test_a_vrt(tmp_path):
    tiff(tmp_path / "tile.tif", VALUES)
    vrt(tmp_path / "a.vrt", "tile.tif")
    same(tmp_path / "a.vrt")
    vrt(tmp_path / "b.vrt", "gone.tif")
    with pytest.raises(DataError, match="b.vrt: cannot be read as an image .*gone.tif"):
        with open_raster(tmp_path / "b.vrt") as raster:
            raster.read(0, 0, W, H)
    (tmp_path / "c.tif").write_text((tmp_path / "a.vrt").read_text())
    with pytest.raises(DataError, match="c.tif: is a VRT file, expected PNG"):
        open_raster(tmp_path / "c.tif")


def test_in_an_archive(tmp_path):
    tiff(tmp_path / "a.tif", VALUES, **PLACE)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.write(tmp_path / "a.tif", "maps/a.tif")
    same(f"/vsizip/{tmp_path}/a.zip/maps/a.tif")
    with pytest.raises(DataError, match="/b.tif: cannot be read as an image"):
        read_header(f"/vsizip/{tmp_path}/a.zip/maps/b.tif")


def test_over_http(tmp_path):
    tiff(tmp_path / "a.tif", VALUES, tiled=True, blockxsize=256, blockysize=256, **PLACE)
    large = np.tile(VALUES, (8, 6))
    tiff(tmp_path / "large.tif", large, tiled=True, blockxsize=256, blockysize=256, **PLACE)
    vrt(tmp_path / "a.vrt", "a.tif")
    with archive(tmp_path) as url:
        same(f"{url}/a.tif?version=1")
        same(f"{url}/a.vrt")
        before = sent(url)
        with open_raster(f"{url}/large.tif") as raster:
            found = raster.read(2000, 2500, 300, 200).pixels
        np.testing.assert_array_equal(found, large[2500:2700, 2000:2300])
        assert sent(url) - before < large.size / 4  # a window, not the file
        for name, why in (("gone.tif", "404"), ("private/a.tif", "403")):
            with pytest.raises(DataError, match=f"{name}: cannot be read .*{why}.*give the right"):
                read_header(f"{url}/{name}")


def test_in_a_bucket(tmp_path, monkeypatch):
    path = tiff(tmp_path / "a.tif", VALUES, **PLACE)
    with gcs_server() as url:
        urllib.request.urlopen(urllib.request.Request(
            f"{url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=maps/a.tif",
            path.read_bytes(), {"Content-Type": "image/tiff"})).read()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        same(f"gs://{BUCKET}/maps/a.tif")


def test_without_the_right_to_read(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_NO_SIGN_REQUEST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CPL_AWS_AUTODETECT_EC2", "NO")
    with pytest.raises(DataError, match="s3://bucket/a.tif: cannot be read .*AWS_.*"):
        read_header("s3://bucket/a.tif")


def test_addresses():
    assert gdal_name("https://a.b/c.tif?x=1") == "/vsicurl/https://a.b/c.tif?x=1"
    assert gdal_name("gs://b/c.tif") == "/vsigs/b/c.tif"
    assert gdal_name("s3://b/c.tif") == "/vsis3/b/c.tif"
    assert gdal_name("/vsizip/a.zip/b.tif") == "/vsizip/a.zip/b.tif"
    assert suffix("https://a.b/c.VRT?x=y.png") == ".vrt" and suffix("d/e.Tif") == ".tif"
    assert is_remote("http://a/b") and not is_remote("a/b.tif")
    with pytest.raises(DataError, match="ftp://a/b.tif: is an address of the kind 'ftp', expected"):
        open_raster("ftp://a/b.tif")


def test_a_missing_driver_is_named(tmp_path):
    path = tmp_path / "a.fits"
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8",
             "NAXIS   =                    2", "NAXIS1  =                    4",
             "NAXIS2  =                    3", "END"]
    path.write_bytes("".join(card.ljust(80) for card in cards).encode().ljust(2880) + bytes(2880))
    with rasterio.Env() as env:
        known = "FITS" in env.drivers()
    if known:
        assert read_header(path)[:2] == (4, 3)
    else:
        with pytest.raises(DataError, match="a.fits: .*has no driver for FITS: convert it"):
            read_header(path)


def test_the_data_of_a_detached_label_are_opened_by_it(tmp_path):
    label = "\r\n".join([
        "PDS_VERSION_ID = PDS3", "RECORD_TYPE = FIXED_LENGTH", f"RECORD_BYTES = {W}",
        f"FILE_RECORDS = {H}", '^IMAGE = "A.IMG"', "OBJECT = IMAGE", f"  LINES = {H}",
        f"  LINE_SAMPLES = {W}", "  SAMPLE_TYPE = UNSIGNED_INTEGER", "  SAMPLE_BITS = 8",
        "  BANDS = 1", "END_OBJECT = IMAGE", "END", ""])
    (tmp_path / "A.IMG").write_bytes(VALUES.tobytes())
    with pytest.raises(DataError, match=r"A.IMG: cannot be read .*its label .A.LBL or A.xml. beside"):
        read_header(tmp_path / "A.IMG")
    (tmp_path / "A.LBL").write_text(label)
    same(tmp_path / "A.IMG", placed=False)
    same(tmp_path / "A.LBL", placed=False)
    source = Source(tmp_path)  # and are one image with it, by either name
    assert [path.name for path in source.images] == ["A.LBL"]
    assert source.find_image("A.IMG", tmp_path / "labels.json").name == "A.IMG"


def test_the_case_of_a_mosaic(cases):
    with open_raster(cases / "place" / "mosaic.vrt") as raster, \
            open_raster(cases / "place" / "moon_eqc.tif") as plain:
        np.testing.assert_array_equal(raster.read(0, 0, 768, 768).pixels,
                                      plain.read(0, 0, 768, 768).pixels)
        assert raster.georeference == plain.georeference
