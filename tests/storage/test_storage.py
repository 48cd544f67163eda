"""Storage in a folder and in a real Cloud Storage server (the fake-gcs-server emulator)."""

import base64
import json

import pytest

from crater_model.errors import ConfigError, CraterError, DataError
from crater_model.storage import MANIFEST, differences, open_storage


def test_folder_artifact_is_there_once_published(tmp_path, fill):
    storage = open_storage(tmp_path / "s")
    fill(storage, "tfrecords/a-1", {"x.bin": b"12345", "sub/y.txt": b"", ".half": b"no"})
    assert not storage.exists("tfrecords/a-1")
    manifest = storage.publish("tfrecords/a-1")
    assert storage.exists("tfrecords/a-1")
    assert [(f["path"], f["bytes"]) for f in manifest["files"]] == [("sub/y.txt", 0), ("x.bin", 5)]
    # CRC32C of "12345" in base64, computed independently (Castagnoli polynomial, bit by bit).
    assert manifest["files"][1]["crc32c"] == crc32c_by_hand(b"12345")
    assert storage.fetch("tfrecords/a-1") == tmp_path / "s" / "tfrecords" / "a-1"
    assert json.loads((storage.path("tfrecords/a-1") / MANIFEST).read_text()) == manifest


def test_differences_name_each_file(tmp_path, fill):
    storage = open_storage(tmp_path)
    fill(storage, "k", {"a": b"1", "b": b"22", "c": b"333"})
    manifest = storage.publish("k")
    assert differences(storage.path("k"), manifest) == []
    fill(storage, "k", {"a": b"9", "b": b"2", "d": b""})
    (storage.path("k") / "c").unlink()
    assert differences(storage.path("k"), manifest) == [
        "a has another checksum than artifact.json says", "b has 1 bytes, expected 2",
        "c is missing", "d is not in artifact.json"]


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://", "gs:///x"])
def test_wrong_address(url):
    with pytest.raises(ConfigError, match="expected a folder or gs://BUCKET/PREFIX"):
        open_storage(url)


@pytest.mark.parametrize("key", ["", "../x", "/x", "a//b", "a/.b", "a b"])
def test_wrong_key(tmp_path, key):
    with pytest.raises(ConfigError, match="artifact key"):
        open_storage(tmp_path).path(key)


def test_nothing_there(tmp_path):
    storage = open_storage(tmp_path)
    with pytest.raises(DataError, match="no such artifact"):
        storage.fetch("k")
    with pytest.raises(DataError, match="no files to publish"):
        storage.publish("k")


def test_bucket_round_trip(cloud, tmp_path, fill):
    writer = open_storage("gs://craters/runs/1", cache=tmp_path / "one")
    reader = open_storage("gs://craters/runs/1", cache=tmp_path / "two")
    files = {f"data/{i:03d}.bin": bytes([i]) * (1000 + i) for i in range(30)}
    fill(writer, "tfrecords/v1", files)
    assert writer.url("tfrecords/v1") == "gs://craters/runs/1/tfrecords/v1"
    assert not reader.exists("tfrecords/v1")
    with pytest.raises(DataError, match="no such artifact"):
        reader.fetch("tfrecords/v1")
    manifest = writer.publish("tfrecords/v1")
    assert reader.exists("tfrecords/v1")
    folder = reader.fetch("tfrecords/v1")
    assert folder.is_relative_to(tmp_path / "two")
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.bin")}
    assert found == files
    # Cloud Storage's own checksum agrees with the manifest's.
    place = reader.manifest("tfrecords/v1")["folder"]
    blob = reader.objects.bucket.get_blob(f"runs/1/tfrecords/v1/{place}/data/007.bin")
    assert blob.crc32c == manifest["files"][7]["crc32c"]
    assert reader.verify("tfrecords/v1") == []
    assert reader.source("tfrecords/v1") == str(folder)
    streaming = open_storage("gs://craters/runs/1", cache=tmp_path / "two", stream=True)
    assert streaming.source("tfrecords/v1") == f"gs://craters/runs/1/tfrecords/v1/{place}"


def test_bucket_replaces_an_artifact_whole(cloud, tmp_path, fill):
    writer = open_storage("gs://craters", cache=tmp_path / "one")
    reader = open_storage("gs://craters", cache=tmp_path / "two")
    fill(writer, "m", {"a": b"old", "gone": b"old"})
    writer.publish("m")
    before = (reader.fetch("m") / "a").stat().st_mtime_ns
    assert (reader.fetch("m") / "a").stat().st_mtime_ns == before  # not downloaded again
    (writer.path("m") / "gone").unlink()
    fill(writer, "m", {"a": b"new"})
    writer.publish("m")
    folder = reader.fetch("m")
    assert (folder / "a").read_bytes() == b"new" and not (folder / "gone").exists()
    place = reader.manifest("m")["folder"]
    assert set(reader.objects.list("m/")) == {f"{place}/a", "artifact.json"}
    # The same once more is left as it is.
    writer.publish("m")
    assert reader.manifest("m")["folder"] == place


def test_bucket_damage_is_found(cloud, tmp_path, fill):
    writer = open_storage("gs://craters/d", cache=tmp_path / "one")
    fill(writer, "m", {"a": b"good", "b": b"12", "c": b""})
    writer.publish("m")
    place = f"d/m/{writer.manifest('m')['folder']}"
    writer.objects.put(f"{place}/a", b"evil")
    writer.objects.put(f"{place}/d", b"")
    writer.objects.put(f"{place}/b", b"1")
    assert writer.verify("m") == [
        "a has another checksum than artifact.json says", "b has 1 bytes, expected 2",
        "d is not in artifact.json"]
    reader = open_storage("gs://craters/d", cache=tmp_path / "two")
    with pytest.raises(DataError, match="gs://craters/d/m: a has another checksum"):
        reader.fetch("m")
    assert not reader.path("m").exists()
    writer.objects.delete([f"{place}/b"])
    with pytest.raises(DataError, match="gs://craters/d/m: a has another checksum"):
        reader.fetch("m")
    # What its maker still has heals it.
    writer.publish("m")
    assert writer.verify("m") == [] and (reader.fetch("m") / "b").read_bytes() == b"12"


def test_no_such_bucket(cloud, tmp_path, fill):
    storage = open_storage("gs://nobody/here", cache=tmp_path)
    fill(storage, "m", {"a": b"1"})
    with pytest.raises(CraterError, match="gs://nobody/here/m: publish failed"):
        storage.publish("m")


def crc32c_by_hand(data: bytes) -> str:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return base64.b64encode((crc ^ 0xFFFFFFFF).to_bytes(4, "big")).decode()
