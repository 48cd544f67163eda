"""What the benchmarks share: processes of their own, the machine, and labelled images."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tensorflow", "tf-models-official", "numpy", "opencv-python-headless",
            "pycocotools", "faster-coco-eval")
# Left to the rest of the machine: a child that leaves less free is ended.
SPARE_MB = 2_000


def say(text: str) -> None:
    """A line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def in_child(file: str, task: str, **arguments) -> dict:
    """Runs `main_child` of a benchmark's file in a process of its own.

    Returns:
      what the task gave, and `peak_mb`: the largest resident size of the whole process; or
      `failed`: why there is nothing, if it ended badly or took the machine's last memory.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3",
                   "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, file, "--child", json.dumps({"task": task, **arguments})]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    while True:
        try:
            output, errors = process.communicate(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            if free_mb() < SPARE_MB:
                process.kill()
                process.communicate()
                return {"failed": f"ended: it left less than {SPARE_MB} MB of memory free"}
    if process.returncode:
        last = (errors.strip().splitlines() or ["no message"])[-1]
        return {"failed": f"ended with {process.returncode}: {last}"}
    return json.loads(output.strip().splitlines()[-1])


def kept(path: Path, make: Callable[..., dict], **arguments) -> dict:
    """What `make` gives for the arguments; from the file, if that has a result of the same ones.

    A result that has `failed` is not kept.
    """
    if path.exists():
        found = json.loads(path.read_text())
        if found["arguments"] == arguments:
            return found["result"]
        raise SystemExit(f"{path}: was made with other arguments; name another --out")
    result = make(**arguments)
    if "failed" not in result:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps({"arguments": arguments, "result": result}, indent=2))
        beside.replace(path)
    return result


def main_child(text: str, tasks: dict[str, Callable[..., dict]]) -> None:
    """The child's side of `in_child`: runs the task and prints what it gives."""
    arguments = json.loads(text)
    values = tasks[arguments.pop("task")](**arguments)
    print(json.dumps({**values, "peak_mb": peak_mb()}))


def peak_mb() -> int:
    """The largest resident size of this process so far, MB."""
    try:  # not getrusage: a new process starts with its parent's peak there
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024
    except OSError:
        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20


def free_mb() -> float:
    """Memory that a new process can have, MB; infinite where nothing tells."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return float("inf")
    return int(text.split("MemAvailable:")[1].split()[0]) / 1024


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ratio(first: float | None, second: float | None) -> float | None:
    """first / second; None where either is missing."""
    return round(first / second, 3) if first and second else None


def machine() -> dict:
    """Where figures were taken: processor, cores, memory, load, versions."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {"processor": _processor(), "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "load_before": round(os.getloadavg()[0], 1), "python": platform.python_version(),
            "packages": versions}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")),
                platform.machine())


def print_json(values: dict) -> None:
    """The benchmark's one object on stdout."""
    json.dump(values, sys.stdout, indent=2)
    print()


def terrain_dataset(folder: Path, size: int, craters: int, images: int, distinct: int = 8,
                    split: str | None = "train") -> dict:
    """A data set of `images` square scenes of `size` px with exactly `craters` labels each.

    The scenes are rendered terrain, `distinct` of them in turn. The labels are the rendered
    rims; where fewer of them show than wanted, ellipses of the same sizes are added at
    random places (they cost as much to store, read and match as others).

    Returns:
      what it holds, with the image files' bytes and bits per px.
    """
    from crater_model.annotations.dataset import save_dataset

    made = [_scene(size, craters, number) for number in range(min(distinct, images))]
    save_dataset(folder, _repeated(made, size, images, split), {1: "crater"})
    total = sum(path.stat().st_size for path in (folder / "images").iterdir())
    return {"size_px": size, "craters": craters, "images": images, "distinct_images": len(made),
            "rendered_labels": sum(shown for _, _, shown in made) // len(made),
            "image_bytes": total, "bits_per_px": round(8 * total / images / size**2, 2)}


def _scene(size: int, craters: int, number: int):
    """(PNG bytes, outlines, how many of them show) of one rendered scene."""
    import cv2
    import numpy as np

    from crater_model.annotations.outline import ellipse
    from crater_model.synthesis import render_scene

    rng = np.random.default_rng((size, craters, number))
    rendered = render_scene((size, craters, number), size, size, count=craters)
    rims = [np.clip(rim, 0, size) for rim in rendered.rims[:craters]]
    shown = len(rims)
    while len(rims) < craters:
        low, high = ((rims[rng.integers(shown)].min(axis=0), rims[rng.integers(shown)].max(axis=0))
                     if shown else (np.zeros(2), np.full(2, size / 8)))
        radius = float(np.clip(np.abs(high - low).max() / 2, 3, size / 8))
        x, y = rng.uniform(radius, size - radius, 2)
        rims.append(ellipse(x, y, radius, radius * rng.uniform(0.8, 1.0)))
    _, png = cv2.imencode(".png", rendered.image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return png.tobytes(), rims, shown


def _repeated(made: list, size: int, images: int, split: str | None) -> Iterable:
    from crater_model.annotations.scene import Instance, Scene

    for number in range(images):
        png, rims, _ = made[number % len(made)]
        instances = tuple(Instance(0, 1, (rim,), _area(rim)) for rim in rims)
        yield Scene(number + 1, f"{number:05d}.png", size, size, instances, split=split), png


def _area(ring) -> float:
    import numpy as np

    x, y = ring.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def found_ellipses(images: int, craters: int, side: int) -> Iterator[tuple]:
    """Labels and detections of square images of `side` px, drawn from a fixed seed.

    Nine in ten labels are found, a little off, and one detection in ten is a false alarm.

    Yields:
      labels [n, 4] (x, y, rx, ry in px), detections [k, 4], their scores float32 [k], best first.
    """
    import numpy as np

    rng = np.random.default_rng((images, craters))

    def draw(count: int):
        radius = np.minimum(4 * rng.uniform(0, 1, count) ** -0.6, side / 8)
        return np.concatenate([rng.uniform(side / 8, side * 7 / 8, (count, 2)),
                               radius[:, None] * rng.uniform(0.8, 1.0, (count, 2))], axis=1)

    for _ in range(images):
        real, false = draw(craters), draw(craters // 10)
        near = real[rng.random(craters) < 0.9]
        near += rng.normal(0, 0.06, near.shape) * near[:, 2:3]
        near[:, 2:] = np.maximum(near[:, 2:], 2.0)
        scores = np.concatenate([rng.uniform(0.3, 1.0, len(near)),
                                 rng.uniform(0.05, 0.7, len(false))]).astype(np.float32)
        order = np.argsort(-scores)
        yield real, np.concatenate([near, false])[order], scores[order]
