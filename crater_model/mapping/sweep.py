"""A whole image through a network that reads small ones: tiles, detections, craters.

The image is swept from its top down, all scales together. What is found is held only until
no tile to come can see it again; then it is given out, so that memory depends on the width
of the image and on how many craters a band of it holds, and never on its height.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice

import numpy as np

from crater_model.detections import Detections
from crater_model.errors import ServingError
from crater_model.imagery.raster import ArrayRaster, Raster, filled
from crater_model.mapping.candidates import Candidates, candidates
from crater_model.mapping.craters import Craters
from crater_model.mapping.journal import Journal
from crater_model.mapping.tiles import Band, Tile, plan
from crater_model.progress import Progress

# Detections of each of many images, in their order and each in its image's px. It draws the
# images as it goes and may have some on the way at the same time.
Stream = Callable[[Iterable[np.ndarray]], Iterator[Detections]]
OVERLAP = 0.25


def batched(predict: Callable[[list[np.ndarray]], list[Detections]], batch: int = 8) -> Stream:
    """A stream that asks `predict` for `batch` images at once."""
    def stream(images: Iterable[np.ndarray]) -> Iterator[Detections]:
        images = iter(images)
        while group := list(islice(images, batch)):
            yield from predict(group)

    return stream


def map_image(stream: Stream, raster: Raster, tile: int, scales: Sequence[float] = (1.0,),
              overlap: float = OVERLAP, *, journal: Journal | None = None,
              progress: str | None = None) -> Iterator[Craters]:
    """The craters of an image of any size, part by part from its top down, each once.

    Args:
      stream: detects; such as `Client.stream`, or `batched` for a detector in this process.
        An image smaller than `tile` x `tile` network px is scaled up by it.
      raster: is read in windows.
      tile: side in px of the network's input.
      scales: network px per image px, one or several; a tile covers tile / scale image px.
      overlap: share of a tile's side that it has in common with the next.
      journal: keeps what is found; with what an earlier run has left in it, this one goes on
        where that stopped, and gives out that one's craters first.
      progress: what the progress line calls the work; None: there is none.

    Yields:
      Tables to be joined, at least one; not in the order of the scores.

    Raises:
      DataError: the image is broken. ServingError: a tile was not answered. And whatever
        `stream` raises.
    """
    for part in _sweep(stream, raster, tile, scales, overlap, journal, progress):
        yield part.craters


def detect_image(stream: Stream, image: np.ndarray | Raster, tile: int,
                 scales: Sequence[float] = (1.0,), overlap: float = OVERLAP) -> Detections:
    """`map_image` with boxes and masks, all at once: detections best first.

    `image` is uint8 [h, w] or [h, w, 3], or a raster; the other arguments are `map_image`'s.
    """
    raster = image if isinstance(image, Raster) else ArrayRaster(image)
    parts = _sweep(stream, raster, tile, scales, overlap, with_masks=True)
    found = Candidates.joined(list(parts)).detections
    assert found is not None  # with masks
    return found.select(np.argsort(-found.scores, kind="stable"))


def _sweep(stream: Stream, raster: Raster, tile: int, scales: Sequence[float], overlap: float,
           journal: Journal | None = None, progress: str | None = None,
           with_masks: bool = False) -> Iterator[Candidates]:
    size = (raster.height, raster.width)
    bands = plan(*size, tile, scales, overlap)
    tiles = bands[-1].first + len(bands[-1].lefts)
    band, held, count = 0, [], 0
    if journal and journal.position:
        band, held = journal.position, [Candidates(*journal.waiting())]
        for craters in journal.found():
            count += len(craters)
            yield Candidates(craters, np.zeros(len(craters), bool))
    line = _Line(progress, bands, band, raster.width) if progress else None
    with line or nullcontext():
        asked: deque[tuple[Tile, np.ndarray | None]] = deque()
        for detections in stream(_tiles(raster, bands[band:], asked)):
            place, valid = asked.popleft()
            if place.band != band and held:
                done, waiting = Candidates.joined(held).settled(place.y0)
                held, count = [waiting], count + len(done.cut)
                if journal:
                    journal.add(done.craters, place.band, waiting.craters, waiting.cut)
                yield done
            band = place.band
            held.append(candidates(detections, place, size, valid, with_masks))
            if line:
                line.at(place.number, band, count)
        if asked:
            raise ServingError(f"{raster.name}: {len(asked)} tiles were asked for and not "
                               "answered; see what the server or the model says, and run it again")
        none = Candidates(Craters.empty(size), np.zeros(0, bool),
                          Detections.empty(size) if with_masks else None)
        done = Candidates.joined(held) if held else none
        if tiles > 1:  # what the network has told apart in a single look stays apart
            done, _ = done.settled(np.inf)
        if journal:
            journal.add(done.craters, len(bands), none.craters, none.cut, last=True)
        if line:
            line.at(tiles, len(bands), count + len(done.cut))
        yield done


def _tiles(raster: Raster, bands: Sequence[Band], asked: deque) -> Iterator[np.ndarray]:
    """The pixels of the tiles that have any data; `asked` takes each tile and its valid mask."""
    for band in bands:
        for tile in band.tiles():
            window = raster.read(tile.x0, tile.y0, tile.x1 - tile.x0, tile.y1 - tile.y0)
            if window.valid is not None and not window.valid.any():
                continue
            asked.append((tile, window.valid))
            yield np.ascontiguousarray(filled(window))


class _Line(Progress):
    """Tiles, craters, and the pixels of the image that are done with."""

    def __init__(self, what: str, bands: Sequence[Band], band: int, width: int):
        first = bands[band].first if band < len(bands) else 0
        super().__init__(f"{what}: tiles", bands[-1].first + len(bands[-1].lefts), done=first)
        self._bands, self._width = bands, width
        self._start_px = self._px(band)

    def at(self, tile: int, band: int, craters: int) -> None:
        rate = (self._px(band) - self._start_px) / 1e6 / self.seconds
        self.update(tile, f"{craters} craters  {rate:.3g} Mpx/s")

    def _px(self, band: int) -> int:
        row = self._bands[band].y0 if band < len(self._bands) else self._bands[-1].y1
        return row * self._width
