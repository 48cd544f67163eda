"""Work that takes long: one process at a time, and gone on with on another machine."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from crater_model.errors import CraterError
from crater_model.storage import locks, open_storage, unfinished

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Copies often; a silent owner is taken for dead after 1.5 s."""
    monkeypatch.setattr(unfinished, "SYNC_SECONDS", 0.05)
    monkeypatch.setenv("CRATER_LEASE_SECONDS", "1.5")


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def copied(storage, key):
    """What the bucket holds of unfinished work: path -> blob."""
    return {name.partition("/")[2]: blob for name, blob in storage.objects.list(f"w/{key}/").items()
            if name.startswith("in-progress-")}


def open_at(tmp_path, name):
    return open_storage("gs://craters/w", cache=tmp_path / name)


def test_a_folder_is_worked_on_by_one_process(tmp_path):
    storage = open_storage(tmp_path)
    code = ("import sys, time; from crater_model.storage import open_storage\n"
            "with open_storage(sys.argv[1]).working('a/b', 'run 1'):\n"
            "    print('working', flush=True); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT,
                               env={**os.environ, "PYTHONPATH": str(ROOT)},
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "working\n"
    with pytest.raises(CraterError, match="a/b: is being made by run 1 since 20.* UTC; wait for"):
        with storage.working("a/b", "run 2"):
            pass
    with storage.working("a/c", "run 2"):
        pass
    process.send_signal(signal.SIGKILL)  # frees it at once
    process.wait(10)
    with storage.working("a/b", "run 2") as work:
        work.check()
    assert not list(tmp_path.rglob(".*.lease"))


def test_the_same_owner_takes_over_from_a_process_that_lives(tmp_path):
    storage = open_storage(tmp_path)
    code = ("import sys, time; from crater_model.storage import open_storage\n"
            "with open_storage(sys.argv[1]).working('a/b', 'run 1') as work:\n"
            "    print('working', flush=True)\n"
            "    while True: work.check(); time.sleep(0.05)")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT,
                               env={**os.environ, "PYTHONPATH": str(ROOT)},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "working\n"
    with storage.working("a/b", "run 1") as work:
        work.check()
        assert process.wait(20) == 1
        assert "a/b: run 1 was started again and takes over" in process.stderr.read()
    assert not list(tmp_path.rglob(".*"))


def test_an_owner_that_does_not_stop_keeps_its_work(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "TAKEOVER_SECONDS", 0.5)
    storage = open_storage(tmp_path)
    with storage.working("a/b", "run 1"):
        with pytest.raises(CraterError, match="a/b: is being made by run 1"):
            with storage.working("a/b", "run 1"):
                pass


def test_work_is_copied_as_it_grows_and_taken_up_elsewhere(cloud, tmp_path, fill):
    one, two = open_at(tmp_path, "one"), open_at(tmp_path, "two")
    with pytest.raises(KeyboardInterrupt):
        with one.working("grow", "run 1", last=("rows", "index")):
            fill(one, "grow", {"ckpt-1": b"1", "ckpt-9_temp/part": b"", "rows": b"1\n"})
            fill(one, "grow", {"index": b"1"})
            until(lambda: set(copied(one, "grow")) == {"ckpt-1", "rows", "index"})
            fill(one, "grow", {"ckpt-2": b"2", "index": b"2", "rows": b"1\n2\n"})
            (one.path("grow") / "ckpt-1").unlink()
            until(lambda: set(copied(one, "grow")) == {"ckpt-2", "rows", "index"})
            fill(one, "grow", {"rows": b"1\n2\n3\n"})
            raise KeyboardInterrupt  # what has changed is copied at the end
    with pytest.raises(CraterError, match="no such artifact"):
        two.fetch("grow")
    with two.working("grow", "run 2", last=("rows", "index")):
        folder = two.path("grow")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            "ckpt-2": b"2", "index": b"2", "rows": b"1\n2\n3\n"}
        fill(two, "grow", {"result": b"4"})
        two.publish("grow")
    place = two.manifest("grow")["folder"]
    assert set(two.objects.list("w/grow/")) == {
        "artifact.json", *(f"{place}/{name}" for name in ("ckpt-2", "index", "rows", "result"))}


def test_what_is_newer_here_is_kept(cloud, tmp_path, fill):
    one = open_at(tmp_path, "one")
    with pytest.raises(ValueError):
        with one.working("newer", "run 1"):
            fill(one, "newer", {"a": b"1"})
            raise ValueError
    fill(one, "newer", {"a": b"2"})
    with one.working("newer", "run 2"):
        assert (one.path("newer") / "a").read_bytes() == b"2"
        until(lambda: copied(one, "newer"))
        assert list(copied(one, "newer")) == ["a"]


def test_of_two_that_start_at_once_one_works(cloud, tmp_path):
    together, said, working = threading.Barrier(2), [], threading.Event()

    def work(name):
        storage = open_at(tmp_path, name)
        assert not storage.exists("both")
        together.wait()
        try:
            with storage.working("both", f"run {name}"):
                said.append(f"run {name} works")
                working.wait(10)
        except CraterError as error:
            said.append(str(error))
            working.set()

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner, = [line for line in said if line.endswith(" works")]
    assert f"both: is being made by {winner.removesuffix(' works')} since" in [
        line for line in said if line != winner][0]


def test_one_owner_at_a_time_and_a_silent_one_is_succeeded(cloud, tmp_path, fill,
                                                           monkeypatch):
    one, two, three = (open_at(tmp_path, name) for name in ("one", "two", "three"))
    first = one.working("lease", "run 1")
    work = first.__enter__()
    fill(one, "lease", {"a": b"1"})
    until(lambda: copied(one, "lease"))
    time.sleep(2)  # longer than the lease: it is renewed
    with pytest.raises(CraterError, match=(
            r"gs://craters/w/lease: is being made by run 1 since 20.* UTC \(last sign of life 0 s "
            r"ago; free after [12] s without\); wait for it, or cancel it")):
        with two.working("lease", "run 2"):
            pass
    # The same run on another machine does not wait for itself.
    with pytest.raises((ValueError, ZeroDivisionError)):
        with two.working("lease", "run 1"):
            assert (two.path("lease") / "a").read_bytes() == b"1"
            fill(two, "lease", {"b": b"2"})
            until(lambda: "b" in copied(two, "lease"))
            with pytest.raises(CraterError, match="run 1 has taken over since 20.* UTC; nothing"):
                until(lambda: work.check())
            fill(one, "lease", {"late": b""})  # whoever was taken for dead mixes nothing up
            first.__exit__(None, None, None)
            monkeypatch.setattr(two.objects, "write", lambda *_: 1 / 0)  # as after a kill
            raise ValueError
    with pytest.raises(CraterError, match="is being made by run 1"):
        with three.working("lease", "run 3"):
            pass
    time.sleep(1.6)
    with three.working("lease", "run 3"):
        found = {path.name for path in three.path("lease").iterdir()}
        assert found == {"a", "b"}
        state = json.loads(three.objects.bucket.blob("w/lease/in-progress.json")
                           .download_as_bytes())
        assert state["owner"] == "run 3"
