"""Chips to be cut, in jobs: neighbours that are read together, then resampled and encoded by
threads, in order."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from crater_model.annotations.clipping import Clipped
from crater_model.annotations.scene import Scene
from crater_model.imagery.pixels import encode_png
from crater_model.imagery.raster import Raster
from crater_model.imagery.resample import (
    SOURCE_VALUES,
    Pixels,
    Region,
    fill,
    read_for_later,
    source_values,
)

# Threads that resample and encode, and the values that may wait for them.
_MAX_WORKERS = 4
_WAITING_VALUES = 2**26


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """A chip to be cut.

    Attributes:
      number: of its scene in the data set, from 0.
      scene: the scene.
      region: its place in the scaled scene.
      labels: what it shows of the scene's labels.
      whole: it is the scene as it stands.
      encoded: and the scene's file is a PNG or JPEG, which is taken as it is.
    """

    number: int
    scene: Scene
    region: Region
    labels: Clipped
    whole: bool = False
    encoded: bool = False

    @property
    def file_name(self) -> str:
        if self.encoded:
            return self.scene.file_name
        path = PurePosixPath(self.scene.file_name)
        kind = path.suffix.lstrip(".").lower()
        mark = "" if kind == "png" else f"_{kind}"  # a.jpg and a.png must not become one name
        x, y, _, _, scale = self.region
        return str(path.with_name(f"{path.stem}{mark}_s{scale:g}_x{x:05d}_y{y:05d}.png"))

    def chip(self, number: int) -> Scene:
        """The chip as an image of a data set."""
        scene, (x, y, width, height, scale) = self.scene, self.region
        if self.whole:
            return replace(scene, id=number, file_name=self.file_name,
                           instances=self.labels.instances, part=None)
        left, top = x / scale, y / scale
        place = scene.georeference
        return replace(
            scene, id=number, file_name=self.file_name, width=width, height=height,
            instances=self.labels.instances, part=None, scale=scene.scale * scale,
            offset=tuple(scene.to_scene(np.array([(left, top)]))[0].tolist()),
            georeference=place and place.part(left, top, scale, width, height))


# What becomes of some chips: for each the file's bytes, b"" where it has data but was not
# to be encoded, or None where it has too little data.
Job = tuple[Sequence[Plan], Callable[[], list[bytes | None]]]


def cut_job(plans: list[Plan], raster: Raster, min_valid: float, encode_empty: bool) -> Job:
    """Reads what neighbours in a row are made from; the rest is left for a thread.

    Args:
      plans: one of the lists that `groups` gives.
      raster: their scene.
      min_valid: smallest share of a chip's pixels that must have data, 0..1.
      encode_empty: whether chips without labels are to be encoded.
    """
    later = read_for_later(raster, _around(plans))
    return plans, functools.partial(_finish, later, plans, min_valid, encode_empty)


def groups(plans: list[Plan], bands: int) -> Iterator[list[Plan]]:
    """Neighbours in a row, as many as may be read at once; what they share is read once."""
    group: list[Plan] = []
    for plan in plans:
        if group:
            last, region = group[-1].region, _around([group[0], plan])
            if (plan.region.x > last.x + last.width or region.width * region.height * bands
                    > SOURCE_VALUES or source_values(region, bands) > SOURCE_VALUES):
                yield group
                group = []
        group.append(plan)
    if group:
        yield group


def _around(plans: list[Plan]) -> Region:
    """The region of the plans of one row, from the first to the last."""
    first, last = plans[0].region, plans[-1].region
    return first._replace(width=last.x + last.width - first.x)


def _finish(later: Callable[[], Pixels], plans: list[Plan], min_valid: float,
            encode_empty: bool) -> list[bytes | None]:
    """The files of neighbours in a row, as `Job` has them."""
    pixels = later()
    done: list[bytes | None] = []
    for plan in plans:
        left = plan.region.x - plans[0].region.x
        columns = slice(left, left + plan.region.width)
        coverage = pixels.coverage
        values = fill(Pixels(pixels.values[:, columns],
                             None if coverage is None else coverage[:, columns]), min_valid)
        if values is None:
            done.append(None)
        else:
            wanted = encode_empty or plan.labels.instances
            done.append(encode_png(np.ascontiguousarray(values)) if wanted else b"")
    return done


def in_order(jobs: Iterable[Job], size: int) -> Iterator[tuple[Plan, bytes | None]]:
    """Does the jobs in threads, a few ahead; chips come in the order of the jobs."""
    workers = min(_MAX_WORKERS, len(os.sched_getaffinity(0)))
    # None ahead where one chip is as much as may wait.
    ahead = min(workers + 1, _WAITING_VALUES // max(SOURCE_VALUES, 3 * size**2))
    waiting: deque[tuple[Sequence[Plan], Future]] = deque()

    def first() -> Iterator[tuple[Plan, bytes | None]]:
        plans, future = waiting.popleft()
        yield from zip(plans, future.result(), strict=True)

    with ThreadPoolExecutor(workers) as pool:
        try:
            for plans, work in jobs:
                waiting.append((plans, pool.submit(work)))
                del work  # and with it the pixels, as soon as they are done with
                if len(waiting) > ahead:
                    yield from first()
            while waiting:
                yield from first()
        finally:
            for _, future in waiting:
                future.cancel()
