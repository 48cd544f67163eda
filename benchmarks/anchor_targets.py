"""What the anchors' targets cost, against Model Garden's labelling of all pairs.

For both sides the seconds a batch takes (median of `--repeats`) and the memory at its peak above
what the process held before, MB. The experiment is the demo's but for the input's size and the
anchors' scales. Each of `--cases` is px a side : craters a scene : scenes a batch.
"""

from __future__ import annotations

import statistics

from benchmarks.harness import grid, peak_mb, ratio, timed

FULL = {"cases": ("1024:400:4", "256:20:4"), "scales": 3, "repeats": 5}
QUICK = {"cases": ("256:20:4",), "repeats": 2}


def scene(rng, instances: int, side: int):
    """Boxes of craters in numbers as on the Moon, many small and few large: [n, 4] px."""
    import numpy as np

    center = rng.uniform(0, side, (instances, 2))
    half = np.minimum(5 * rng.random((instances, 1)) ** -0.5, side / 4)
    return np.concatenate([center - half, center + half], axis=1).clip(0, side)


def targets(name: str, side: int, instances: int, batch: int, scales: int, repeats: int) -> dict:
    """Seconds and MB of one side, in this process."""
    import numpy as np
    import tensorflow as tf
    from official.vision.ops import anchor

    from crater_model.detector import targets
    from crater_model.detector.experiment import load_experiment

    task = load_experiment("demo", {"task.model.anchor.num_scales": scales}).task
    anchors = targets.anchors_of(task.model, (side, side))
    labeler = anchor.RpnAnchorLabeler()
    rng = np.random.default_rng(0)
    boxes = tf.constant(np.stack([scene(rng, instances, side) for _ in range(batch)]), tf.float32)

    @tf.function
    def step(boxes):
        if name == "ours":
            classes = tf.ones(tf.shape(boxes)[:2], tf.int32)
            return targets.rpn_targets(anchors, boxes, classes, task.train_data.parser)
        return [labeler.label_anchors(anchors, one, tf.ones([instances, 1]))
                for one in tf.unstack(boxes)]

    step.get_concrete_function(boxes)
    before = peak_mb()
    step(boxes)
    seconds = [timed(lambda: tf.nest.map_structure(lambda value: value.numpy(), step(boxes)))
               for _ in range(repeats)]
    return {"anchors": sum(a.shape.num_elements() // 4 for a in anchors.values()),
            "seconds": statistics.median(seconds), "more_mb": peak_mb() - before}


def ours(**case) -> dict:
    return targets("ours", **case)


def model_garden(**case) -> dict:
    return targets("model_garden", **case)


def measure(bench, cases, scales: int, repeats: int) -> dict:
    found = {}
    for name in cases:
        size = dict(zip(("side", "instances", "batch"), map(int, name.split(":"))))
        case = bench.sides(name, (ours, model_garden), **size, scales=scales, repeats=repeats)
        mine, garden = case.values()
        found[name] = {**size, **case, "anchors": mine.get("anchors"),
                       "times_faster": ratio(garden.get("seconds"), mine.get("seconds")),
                       "memory_share": ratio(mine.get("more_mb"), garden.get("more_mb"))}
    return {"cases": found}


def table(found: dict) -> str:
    return grid({"px": "{side}", "craters a scene": "{instances}", "anchors": "{anchors:,}",
                 "times as fast as Model Garden": "{times_faster:.1f}",
                 "share of its memory": "{memory_share:.3f}"}, found["cases"].values())
