"""What the anchors' targets cost, against Model Garden's labelling of all pairs.

    python benchmarks/anchor_targets.py [--side 1024] [--instances 400] [--batch 4] [--scales 3]

Prints one JSON object: for both sides the seconds a batch takes (median) and the memory at
its peak above what the process held before, MB, each side in a process of its own, and the
ratios. The experiment is the demo's but for the input's size and the anchors' scales.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

SIDES = ("model_garden", "ours")


def scene(rng: np.random.Generator, instances: int, side: int) -> np.ndarray:
    """Boxes of craters in numbers as on the Moon, many small and few large: [n, 4] px."""
    center = rng.uniform(0, side, (instances, 2))
    half = np.minimum(5 * rng.random((instances, 1)) ** -0.5, side / 4)
    return np.concatenate([center - half, center + half], axis=1).clip(0, side)


def measure(name: str, side: int, instances: int, batch: int, scales: int, repeats: int) -> dict:
    """Seconds and MB of one of `SIDES`, in this process."""
    import tensorflow as tf
    from official.vision.ops import anchor

    from crater_model.detector import targets
    from crater_model.detector.experiment import load_experiment

    task = load_experiment("demo", {"task.model.anchor.num_scales": scales}).task
    anchors = targets.anchors_of(task.model, (side, side))
    labeler = anchor.RpnAnchorLabeler()
    rng = np.random.default_rng(0)
    boxes = np.stack([scene(rng, instances, side) for _ in range(batch)]).astype(np.float32)
    boxes = tf.constant(boxes)

    @tf.function
    def step(boxes):
        if name == "ours":
            classes = tf.ones(tf.shape(boxes)[:2], tf.int32)
            return targets.rpn_targets(anchors, boxes, classes, task.train_data.parser)
        return [labeler.label_anchors(anchors, one, tf.ones([instances, 1]))
                for one in tf.unstack(boxes)]

    step.get_concrete_function(boxes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(boxes)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        tf.nest.map_structure(lambda value: value.numpy(), step(boxes))
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    count = sum(a.shape.num_elements() // 4 for a in anchors.values())
    return {"anchors": count, "seconds": float(np.median(seconds)), "peak_mb": peak / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024, help="px")
    parser.add_argument("--instances", type=int, default=400)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--scales", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    values = (options.side, options.instances, options.batch, options.scales, options.repeats)
    if options.only:
        print(json.dumps(measure(options.only, *values)))
        return
    result = {"side": options.side, "instances": options.instances, "batch": options.batch}
    for name in SIDES:
        print(f"measuring {name}", file=sys.stderr)
        ran = subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", name],
                             check=True, stdout=subprocess.PIPE)
        result[name] = json.loads(ran.stdout.splitlines()[-1])
    for key in ("seconds", "peak_mb"):
        result[f"{key}_ratio"] = round(result["model_garden"][key] / result["ours"][key], 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
