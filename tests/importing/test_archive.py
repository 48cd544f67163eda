"""Zipped sources, honest and hostile."""

from __future__ import annotations

import zipfile

import pytest

from crater_model.errors import DataError
from crater_model.importing.archive import unpacked


def zipped(path, members: dict[str, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_zip_is_unpacked_and_removed_again(tmp_path):
    path = zipped(tmp_path / "a.zip", {"images/one.png": b"pixels", "labels\\one.txt": b"0 1"})
    with unpacked(path) as folder:
        found = {p.relative_to(folder).as_posix(): p.read_bytes()
                 for p in folder.rglob("*") if p.is_file()}
    assert found == {"images/one.png": b"pixels", "labels/one.txt": b"0 1"}
    assert not folder.exists()


def test_a_folder_is_itself(tmp_path):
    with unpacked(tmp_path) as folder:
        assert folder == tmp_path


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:\\out.txt",
                                  "a\\..\\..\\out.txt"])
def test_a_path_out_of_the_archive_is_refused(tmp_path, name):
    (tmp_path / "in").mkdir()
    path = zipped(tmp_path / "in" / "a.zip", {name: b"x"})
    with pytest.raises(DataError, match="a.zip: holds the path .* which leads out of it"):
        with unpacked(path):
            pass
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.zip"]


def test_a_bomb_is_refused_before_it_grows(tmp_path):
    path = zipped(tmp_path / "a.zip", {"a.json": bytes(200 * 2**20)})
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match="a.zip: would grow from .* more than 100 times"):
        with unpacked(path):
            pass


@pytest.mark.parametrize("damage", [lambda d: d[:len(d) // 2], lambda d: b"", lambda d: d[:60] +
                                    b"\xff" * 20 + d[80:]])
def test_a_broken_zip_is_one_line(tmp_path, damage):
    path = zipped(tmp_path / "a.zip", {"a.txt": bytes(range(256)) * 40})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="a.zip: cannot be unpacked .*export it again") as caught:
        with unpacked(path):
            pass
    assert "\n" not in str(caught.value)
