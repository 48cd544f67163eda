"""A labelled data set of rendered terrain."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from shapely import Polygon

from crater_model.annotations.dataset import save_dataset
from crater_model.annotations.scene import Instance, Scene
from crater_model.errors import ConfigError
from crater_model.progress import track
from crater_model.synthesis.scene import check_size, render_scene


def synthesize(out_dir: str | os.PathLike, scenes: int = 400, size: tuple[int, int] = (256, 256),
               seed: int = 0, empty_share: float = 0.05, workers: int | None = None,
               count: int | None = None) -> dict:
    """Renders a data set: `out_dir`/images/*.png and `out_dir`/annotations.json.

    Equal arguments give equal bytes, whatever the number of workers, and the first
    pictures of a longer data set are those of a shorter one. The folder appears whole,
    in place of an older data set.

    Args:
      scenes: how many, 1 or more.
      size: (width, height) in px, at least 8 each.
      seed: 0 or more.
      empty_share: share of the scenes, 0..1, that have no crater to label.
      workers: threads; None takes one per core.
      count: craters drawn in each scene that is not empty; None varies it (see
        `render_scene`).

    Returns:
      {"scenes", "instances", "empty_scenes", "size", "seed", "median_diameter" (px; None
      without instances)}.

    Raises:
      ConfigError: an argument is out of range.
      CraterError: `out_dir` is a file, or holds something other than a data set.
    """
    if scenes < 1:
        raise ConfigError(f"scenes {scenes}: expected 1 or more")
    if seed < 0:
        raise ConfigError(f"seed {seed}: expected 0 or more")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers {workers}: expected 1 or more")
    if not 0 <= empty_share <= 1:
        raise ConfigError(f"empty_share {empty_share}: expected 0 to 1")
    width, height = (int(side) for side in size)
    check_size(width, height, count)
    workers = workers or len(os.sched_getaffinity(0))
    diameters: list[float] = []
    empty = 0

    def images() -> Iterator[tuple[Scene, bytes]]:
        nonlocal empty
        pictures = _rendered(scenes, (width, height), seed, empty_share, workers, count)
        for index, (png, rims) in enumerate(track(pictures, "rendering scenes", scenes)):
            instances = tuple(
                Instance(id=0, class_id=1, rings=(rim,), area=Polygon(rim).area) for rim in rims)
            diameters.extend(instance.diameter for instance in instances)
            empty += not instances
            yield Scene(index + 1, f"terrain_{index:05d}.png", width, height, instances), png

    info = {"description": "synthetic terrain", "seed": seed, "scenes": scenes}
    save_dataset(Path(out_dir), images(), {1: "crater"}, info)
    return {"scenes": scenes, "instances": len(diameters), "empty_scenes": empty,
            "size": [width, height], "seed": seed,
            "median_diameter": round(float(np.median(diameters)), 2) if diameters else None}


def _rendered(scenes: int, size: tuple[int, int], seed: int, empty_share: float,
              workers: int, count: int | None) -> Iterator[tuple[bytes, list[np.ndarray]]]:
    """PNG bytes and rims of each scene in order; a few are rendered ahead."""

    def render(index: int) -> tuple[bytes, list[np.ndarray]]:
        # Empty where the running total of the share passes a whole number.
        empty = int((index + 1) * empty_share) > int(index * empty_share)
        scene = render_scene((seed, index), *size, count=0 if empty else count)
        _, png = cv2.imencode(".png", scene.image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return png.tobytes(), scene.rims

    opencv_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # its own threads would only get in the way of ours
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(render, i) for i in range(min(scenes, 2 * workers)))
        try:
            for following in range(len(ahead), scenes + len(ahead)):
                yield ahead.popleft().result()
                if following < scenes:
                    ahead.append(pool.submit(render, following))
        finally:
            for waiting in ahead:
                waiting.cancel()
            cv2.setNumThreads(opencv_threads)
