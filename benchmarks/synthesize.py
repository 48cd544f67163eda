"""How fast terrain is rendered, and what a data set of it holds.

Scenes/s with the data set written to disk (goal: 40 on two cores at 256 x 256 px), CPU time a scene,
and the labels' statistics.
"""

from __future__ import annotations

import time

FULL = {"scenes": 400, "workers": 2}
QUICK = {"scenes": 40}
PERCENTILES = (5, 25, 50, 75, 95)


def rendered(folder: str, scenes: int, workers: int) -> dict:
    """Renders a data set into the folder and describes it."""
    import numpy as np

    from crater_model.annotations.dataset import load_dataset
    from crater_model.synthesis import synthesize

    wall, cpu = time.perf_counter(), time.process_time()
    synthesize(folder, scenes=scenes, workers=workers)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    made = load_dataset(folder).scenes
    diameters = [i.diameter for scene in made for i in scene.instances]
    return {
        "scenes_per_second": round(scenes / wall, 1), "instances": len(diameters),
        "cpu_ms_per_scene": round(1e3 * cpu / scenes, 1), "percentiles": PERCENTILES,
        "diameters_px": np.percentile(diameters, PERCENTILES).round(1).tolist(),
        "craters_per_scene": np.percentile([len(scene.instances) for scene in made],
                                           PERCENTILES).round(1).tolist()}


def measure(bench, scenes: int, workers: int) -> dict:
    return bench.child("rendered", rendered, folder=bench.folder / "terrain", scenes=scenes,
                       workers=workers)
