"""What is made once for all tests."""

import multiprocessing
import os

import pytest

from tests.shared import made_once


def make(folder):
    (folder / "who").write_text(str(os.getpid()))
    with open(os.environ["CRATER_TEST_CACHE"] + "/makings", "a") as makings:
        makings.write("x")


def made_by(_) -> str:
    return (made_once("thing", make) / "who").read_text()


def test_of_many_processes_one_makes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CRATER_TEST_CACHE", str(tmp_path))
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        makers = set(pool.map(made_by, range(12), chunksize=1))
    assert len(makers) == 1 and (tmp_path / "makings").read_text() == "x"
    assert made_by(None) in makers


def test_another_key_makes_another(tmp_path, monkeypatch):
    monkeypatch.setenv("CRATER_TEST_CACHE", str(tmp_path))
    folders = {made_once("thing", make, key={"steps": steps}) for steps in (1, 2, 1)}
    assert len(folders) == 2 and (tmp_path / "makings").read_text() == "xx"


def test_what_failed_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("CRATER_TEST_CACHE", str(tmp_path))
    tries = []

    def fails_first(folder):
        tries.append(list(folder.iterdir()))
        (folder / "half").write_text("x")
        if len(tries) == 1:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        made_once("broken", fails_first)
    assert (made_once("broken", fails_first) / "half").exists()
    assert tries == [[], []]
