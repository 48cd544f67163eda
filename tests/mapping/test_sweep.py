"""Large images through an oracle: every crater once, also after a kill or beside missing data."""

import os
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely

from crater_model.detections import Detections
from crater_model.errors import ConfigError, CraterError, ServingError
from crater_model.imagery.raster import ArrayRaster, Window, open_raster
from crater_model.mapping.candidates import Candidates, candidates
from crater_model.mapping.craters import Craters
from crater_model.mapping.journal import Journal
from crater_model.mapping.sweep import OVERLAP, batched, detect_image, map_image
from crater_model.mapping.tiles import plan
from tests.mapping.oracle import (
    SCALES,
    TILE,
    Oracle,
    Places,
    field,
    lost_and_doubled,
    nested,
    places,
    truth,
)

HEIGHT, WIDTH, COUNT = 1536, 2048, 1500
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def known():
    return field(HEIGHT, WIDTH, COUNT)


@pytest.fixture(scope="module")
def parts(known):
    oracle = Oracle(known, HEIGHT, WIDTH)
    return list(map_image(oracle.stream, Places(HEIGHT, WIDTH), TILE, SCALES))


def same(one: Craters, other: Craters) -> None:
    assert one.size == other.size and one.label_map == other.label_map
    for name in ("scores", "classes", "scales", "edge"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert shapely.equals_exact(one.outlines, other.outlines, 0).all()


def test_every_crater_once(known, parts):
    found = Craters.joined(parts)
    inner = known[nested(known)]
    assert len(inner) > 150
    counts = lost_and_doubled(truth(known, HEIGHT, WIDTH), found.outlines)
    assert sum(counts.values()) <= 0.001 * COUNT, counts
    assert lost_and_doubled(truth(inner, HEIGHT, WIDTH), found.outlines)["lost"] == 0
    assert set(found.scales) == {np.float32(scale) for scale in SCALES}


def test_in_parts_as_all_at_once(known, parts):
    oracle, size = Oracle(known, HEIGHT, WIDTH), (HEIGHT, WIDTH)
    every = Candidates.joined([
        candidates(oracle.look(tile), tile, size, None)
        for band in plan(HEIGHT, WIDTH, TILE, SCALES, OVERLAP) for tile in band.tiles()])
    wanted, waiting = every.settled(np.inf)
    found = Craters.joined(parts)
    assert len(waiting.cut) == 0 and len(found) == len(wanted.cut)
    by_score = [t.select(np.argsort(t.scores)) for t in (found, wanted.craters)]
    same(*by_score)
    # Given out on the way: each part reaches little further down than the one before.
    assert len(parts) > 10 and max(map(len, parts)) < COUNT / 3


def test_edges_of_the_image_are_marked(parts):
    found = Craters.joined(parts)
    x0, y0, x1, y1 = shapely.bounds(found.outlines[found.edge]).T
    assert ((x0 < 9) | (y0 < 9) | (x1 > WIDTH - 9) | (y1 > HEIGHT - 9)).all()
    x0, y0, x1, y1 = shapely.bounds(found.outlines[~found.edge]).T
    assert min(x0.min(), y0.min()) >= 1 and x1.max() <= WIDTH - 1 and y1.max() <= HEIGHT - 1
    assert 10 < found.edge.sum() < 200


def fails_after(stream, count):
    def broken(images):
        yield from islice(stream(images), count)
        raise CraterError("the server is gone")

    return broken


@pytest.fixture
def little():
    """A scene of 640 x 900 px: five bands of tiles, 150 craters."""
    known = field(640, 900, 150, largest=100)
    return Oracle(known, 640, 900, scales=(1.0, 0.5)).stream, Places(640, 900)


def test_a_broken_run_goes_on(little, tmp_path):
    stream, raster = little
    undisturbed = Craters.joined(list(map_image(stream, raster, TILE, (1.0, 0.5))))
    assert len(undisturbed) == 150
    begins = []
    for count in (9, 9, 9, 1, None):
        with Journal(tmp_path / "journal", {"of": 1}, every_s=0) as journal:
            begins.append(journal.position)
            broken = fails_after(stream, count) if count else stream
            mapping = map_image(broken, raster, TILE, (1.0, 0.5), journal=journal)
            if count:
                with pytest.raises(CraterError, match="gone"):
                    list(mapping)
            else:
                same(Craters.joined(list(mapping)), undisturbed)
    assert begins == [0, 2, 4, 4, 4]
    # What has come to its end gives the same again and asks for nothing.
    with Journal(tmp_path / "journal", {"of": 1}) as journal:
        again = map_image(fails_after(stream, 0), raster, TILE, (1.0, 0.5), journal=journal)
        with pytest.raises(CraterError):
            list(again)
        again = list(map_image(stream, raster, TILE, (1.0, 0.5), journal=journal))
        same(Craters.joined(again), undisturbed)


SCRIPT = """
import os, signal, sys
from tests.mapping.oracle import TILE, Oracle, Places, field
from crater_model.mapping.journal import Journal
from crater_model.mapping.sweep import map_image
oracle = Oracle(field(640, 900, 150, largest=100), 640, 900, scales=(1.0, 0.5))
def stream(images):
    for number, found in enumerate(oracle.stream(images)):
        if number == 17:
            os.kill(os.getpid(), signal.SIGKILL)
        yield found
with Journal(sys.argv[1], {"of": 1}, every_s=0) as journal:
    list(map_image(stream, Places(640, 900), TILE, (1.0, 0.5), journal=journal))
"""


def test_a_killed_process_goes_on(little, tmp_path):
    stream, raster = little
    done = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path / "journal"], cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL
    asked = []

    def counted(images):
        for found in stream(images):
            asked.append(found)
            yield found

    with Journal(tmp_path / "journal", {"of": 1}) as journal:
        assert journal.position > 0
        found = list(map_image(counted, raster, TILE, (1.0, 0.5), journal=journal))
    tiles = sum(len(band.lefts) for band in plan(640, 900, TILE, (1.0, 0.5), OVERLAP))
    assert 0 < len(asked) < tiles
    same(Craters.joined(found), Craters.joined(list(map_image(stream, raster, TILE, (1.0, 0.5)))))


def test_another_run_is_refused(tmp_path):
    empty = Craters.empty((8, 9))
    with Journal(tmp_path / "journal", {"scales": [1.0, 0.5], "tile": 64}) as journal:
        journal.add(empty, 3, empty, np.zeros(0, bool), last=True)
        with pytest.raises(CraterError, match="another run is at work here"):
            Journal(tmp_path / "journal", {"scales": [1.0, 0.5], "tile": 64})
    with pytest.raises(ConfigError, match=r"begun with scales \[1.0, 0.5\], now it is \[1.0\]"):
        Journal(tmp_path / "journal", {"scales": (1.0,), "tile": 64})
    with Journal(tmp_path / "other", {}):
        pass
    assert not (tmp_path / "other").exists()  # nothing was found yet


def test_a_file_is_read_in_windows(little, tmp_path):
    stream, raster = little
    pixels = places(np.arange(900), np.arange(640))
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=900, height=640, count=1,
                       dtype="uint8", tiled=True, blockxsize=256, blockysize=256) as file:
        file.write(pixels, 1)
    with open_raster(tmp_path / "a.tif") as opened:
        found = list(map_image(stream, opened, TILE, (1.0, 0.5)))
    same(Craters.joined(found), Craters.joined(list(map_image(stream, raster, TILE, (1.0, 0.5)))))


class Holed(ArrayRaster):
    """Without data right of x = 170 px, and in one dead pixel."""

    has_invalid = True

    def read(self, left, top, width, height):
        valid = np.ones((self.height, self.width), bool)
        valid[:, 170:] = valid[30, 70] = False
        window = np.s_[top:top + height, left:left + width]
        return Window(np.where(valid, self.pixels, 0)[window], valid[window])


def test_missing_data():
    raster = Holed(np.full((150, 600), 90, np.uint8))
    seen = []

    def predict(images):
        seen.extend(images)
        # One on the dead pixel's row, whole; one up to the edge of the data; one beyond it.
        boxes = np.array([[20, 60, 40, 80], [50, 130, 90, 170], [50, 175, 80, 205]], np.float32)
        return [Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.ones(3, np.int64),
                           np.full((3, 28, 28), 255, np.uint8), image.shape) for image in images]

    found, = map_image(batched(predict), raster, 256)
    assert [image.shape for image in seen] == [(150, 256)]  # the other two tiles are empty
    assert seen[0].min() == 90  # what is missing takes the mean
    assert found.scores.tolist() == pytest.approx([0.9, 0.8])
    assert found.edge.tolist() == [False, True]


def test_nothing_but_missing_data():
    class Empty(ArrayRaster):
        def read(self, left, top, width, height):
            return Window(np.zeros((height, width), np.uint8), np.zeros((height, width), bool))

    raster = Empty(np.zeros((100, 700), np.uint8))
    found, = map_image(batched(lambda images: pytest.fail("asked")), raster, 128)
    assert len(found) == 0 and found.size == (100, 700)
    assert len(detect_image(batched(lambda images: pytest.fail("asked")), raster, 128)) == 0


def test_tiles_without_an_answer_are_an_error(little):
    stream, raster = little

    def short(answers):
        held = next(answers)
        for answer in answers:  # always one behind
            yield held
            held = answer

    with pytest.raises(ServingError, match="places: 1 tiles were asked for and not answered"):
        list(map_image(lambda images: short(stream(images)), raster, TILE))


def test_boxes_and_masks_come_along(little):
    stream, raster = little
    found = detect_image(stream, raster, TILE, (1.0, 0.5))
    table = Craters.joined(list(map_image(stream, raster, TILE, (1.0, 0.5))))
    assert found.size == (640, 900) and found.masks.shape == (150, 28, 28)
    assert (np.diff(found.scores) <= 0).all()
    assert sorted(found.scores) == sorted(table.scores)
    order = np.argsort(-table.scores, kind="stable")
    np.testing.assert_allclose(found.boxes, table.boxes[order], atol=0.6)


def test_in_one_look_the_networks_word_counts():
    """Two that would be merged across tiles stay apart where a single tile shows all."""
    boxes = np.array([[10, 10, 40, 50], [12, 10, 40, 50]], np.float32)
    answer = Detections(boxes, np.array([0.9, 0.8], np.float32), np.ones(2, np.int64),
                        np.full((2, 28, 28), 255, np.uint8), (60, 100))
    image = np.zeros((60, 100, 3), np.uint8)
    one, = map_image(batched(lambda images: [answer] * len(images)), ArrayRaster(image), 128)
    assert len(one) == 2
    two = detect_image(batched(lambda images: [answer] * len(images)), image, 128, (1.0, 0.5))
    assert len(two) == 1 and two.scores[0] == np.float32(0.9)


def test_batches_are_drawn_as_they_are_asked_for():
    drawn = []

    def images():
        for number in range(7):
            drawn.append(number)
            yield np.full((2, 3), number, np.uint8)

    stream = batched(lambda group: [Detections.empty((int(image[0, 0]), len(group)))
                                    for image in group], 3)
    answers = stream(images())
    assert next(answers).size == (0, 3) and drawn == [0, 1, 2]
    assert [found.size for found in answers] == [(1, 3), (2, 3), (3, 3), (4, 3), (5, 3), (6, 1)]
