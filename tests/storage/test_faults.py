"""A network that loses things, and writers that meet."""

import threading

import pytest

from crater_model.errors import CraterError
from crater_model.storage import open_storage
from crater_model.storage.objects import Conflict, Document, Objects
from tests.cloud import Gateway


@pytest.fixture
def gateway(server, monkeypatch):
    """gateway(...): a `Gateway` to the server, set in the environment; stalls are seen in 1 s."""
    opened = []

    def open_one(**faults):
        opened.append(Gateway(server, **faults).__enter__())
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", opened[-1].url)
        monkeypatch.setenv("CRATER_GCS_TIMEOUT", "1")
        return opened[-1]

    yield open_one
    for one in opened:
        one.__exit__()


def test_artifacts_are_whole_whatever_the_network_loses(gateway, tmp_path, fill):
    faulty = gateway(refused=0.05, reset=0.05, stalls=3, stalled=20, seed=3)
    # The large file goes in several requests.
    files = {f"data/{i:03d}.bin": bytes([i]) * (1000 + i) for i in range(60)}
    files |= {"empty": b"", "large.bin": bytes(range(256)) * 40_000}
    writer = open_storage("gs://craters/faults", cache=tmp_path / "one")
    reader = open_storage("gs://craters/faults", cache=tmp_path / "two")
    fill(writer, "m", {"old": b"old"})
    writer.publish("m")
    (writer.path("m") / "old").unlink()
    fill(writer, "m", files)
    writer.publish("m")
    folder = reader.fetch("m")
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and p.name != "artifact.json"} == files
    assert reader.verify("m") == []
    place = reader.manifest("m")["folder"]
    assert set(reader.objects.list("faults/m/")) == {
        "artifact.json", *(f"{place}/{name}" for name in files)}
    for fault in ("refused", "refused late", "reset", "reset late", "stalled"):
        assert faulty.seen[fault] >= 1, faulty.seen
    assert faulty.seen["requests"] > 120


def test_a_lost_answer_is_no_conflict(gateway, monkeypatch):
    faulty = gateway()
    objects = Objects("craters")
    assert objects.read("one.json") == Document({})
    for fates in (["refused late"], ["reset late"]):
        generation = objects.read("one.json").generation
        left = iter(fates)
        monkeypatch.setattr(faulty, "fate", lambda: next(left, "passed"))
        objects.write("one.json", {"by": fates}, generation)
        assert objects.read("one.json").value == {"by": fates}
        assert next(left, None) is None
    with pytest.raises(Conflict):
        objects.write("one.json", {"by": "another"}, generation)


def test_of_two_writers_one_wins(cloud, tmp_path, fill):
    writers = [open_storage("gs://craters/race", cache=tmp_path / name) for name in "ab"]
    for name, writer in zip("ab", writers):
        assert not writer.exists("m")
        fill(writer, "m", {f"{i}.bin": name.encode() * 1000 for i in range(20)})
    said = [None, None]

    def publish(number):
        try:
            writers[number].publish("m")
        except CraterError as error:
            said[number] = str(error)

    threads = [threading.Thread(target=publish, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loser, = [number for number in (0, 1) if said[number]]
    assert said[loser].startswith("gs://craters/race/m: another process has published this "
                                  "artifact while this one was being made")
    reader = open_storage("gs://craters/race", cache=tmp_path / "c")
    folder = reader.fetch("m")
    assert {path.read_bytes() for path in folder.glob("*.bin")} == {b"ba"[loser:loser + 1] * 1000}
    assert len(reader.objects.list("race/m/")) == 21  # nothing of the other is left


def test_who_began_before_another_published_does_not_replace_it(cloud, tmp_path, fill):
    first, second = (open_storage("gs://craters/late", cache=tmp_path / name)
                     for name in "ab")
    assert not first.exists("m") and not second.exists("m")
    fill(first, "m", {"x": b"first"})
    fill(second, "m", {"x": b"second"})
    first.publish("m")
    with pytest.raises(CraterError, match="another process has published"):
        second.publish("m")
    assert (second.fetch("m") / "x").read_bytes() == b"first"
    fill(second, "m", {"x": b"again"})  # having seen it, it may
    second.publish("m")
    # Two that make the same are no conflict.
    third = open_storage("gs://craters/late", cache=tmp_path / "c")
    assert not third.exists("n") and not second.exists("n")
    for one in (second, third):
        fill(one, "n", {"x": b"same"})
        one.publish("n")


def test_readers_see_one_artifact_or_the_other(cloud, tmp_path, fill):
    writer = open_storage("gs://craters/swap", cache=tmp_path / "w")
    done = threading.Event()

    def publish():
        for number in range(12):
            fill(writer, "m", {f"{i}.bin": bytes([number]) * 500 for i in range(10)})
            writer.publish("m")
        done.set()

    fill(writer, "m", {f"{i}.bin": b"x" * 500 for i in range(10)})
    writer.publish("m")
    thread, seen = threading.Thread(target=publish), set()
    thread.start()
    while not done.is_set():
        reader = open_storage("gs://craters/swap", cache=tmp_path / "r")
        found = {path.read_bytes() for path in reader.fetch("m").glob("*.bin")}
        assert len(found) == 1
        seen |= found
    thread.join()
    assert len(seen) > 1
