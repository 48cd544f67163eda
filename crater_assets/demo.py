"""The main job in one go: `make demo`.

It materializes the whole graph with a real backfill over the hyperparameter sets, starts the
local server on the exported model, sends it a scene that nothing was trained on, and leaves
the outlines, an overlay and a summary in `demo/`. Its history is its own, in `demo/dagster`: runs
of the web UI are left alone. The environment variables of the assets
(CRATER_DATASET, CRATER_STORAGE, CRATER_EXPERIMENT, ...) hold here too. What is there already is
used again.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crater_assets import homes, launch
from crater_assets.history import Materialization, last_materialization
from crater_assets.partitions import PRETRAINED, hyperparameters, wants_pretrained
from crater_assets.resources import Crater
from crater_assets.trainings import CODE_VERSION
from crater_model.errors import CraterError
from crater_model.files import make_folder, write_bytes, write_json
from crater_model.progress import format_seconds

# Far from the seeds of the embedded data set, whose scenes count up from 0.
UNSEEN_SEED, UNSEEN_SIZE = 1_000_003, (640, 448)
_VARIABLES = ("CRATER_DATASET", "CRATER_IMAGES", "CRATER_STORAGE", "CRATER_EXPERIMENT",
              "CRATER_HYPERPARAMETERS", "CRATER_SERVING_BASE")


def main() -> int:
    """Runs the demonstration; returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        print(summary_text(run(Path.cwd())))
    except CraterError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def run(root: Path) -> dict[str, Any]:
    """Materializes everything, serves the model and calls it; writes `demo/summary.json`.

    Args:
      root: the repository's root: dagster.yaml and workspace.yaml, and where `demo/` goes.

    Raises:
      CraterError: a run failed (its own words say why), or the server does not answer.
    """
    started = time.monotonic()
    folder = make_folder(root / "demo")
    # A history of its own: what else is going on in `make ui` is not touched.
    home = homes.own_home(folder / "dagster", root / "dagster.yaml")
    with launch.dagster_dev(root, log=folder / "dagster.log", home=home) as url:
        _say(f"Dagster runs at {url} while this lasts; its log is {folder / 'dagster.log'}")
        launch.wait_for_run(url, launch.launch_job(url, "prepare_data"), "data")
        sets = untrained(root, home)
        if sets:
            backfill = launch.launch_backfill(url, ["checkpoint"], sets)
            launch.wait_for_backfill(url, backfill, "training", len(sets), note=training_note)
        launch.wait_for_run(url, launch.launch_job(url, "release"), "release")
    model, image = (
        _materialized(root, home, name) for name in ("best_model", "serving_image"))
    saved_model = Path(model.metadata["saved_model"])
    name, pixels = unseen_scene(root, home)
    source = write_bytes(folder / "unseen.png", pixels)
    with local_server(saved_model) as server:
        _say(f"asking the model at {server} for the outlines in {name}")
        found = detect(server, source, folder, float(model.metadata["test_metrics"]
                                                     .get("threshold") or 0.5))
    test = model.metadata["test_metrics"]
    summary = {
        "mask_AP": test.get("mask_AP"), "mask_AP50": test.get("mask_AP50"),
        "test_scenes": model.metadata["test_scenes"], "best": model.metadata["partition"],
        "partitions": [{"name": entry["partition"], "metric": entry["score"],
                        "seconds": entry["seconds"]} for entry in model.metadata["ranking"]],
        "metric": model.metadata["metric"], "saved_model": str(saved_model),
        "image": image.metadata["image"] if image.metadata["built"] else None,
        "image_note": image.metadata.get("no_image", ""),
        "scene": name, "detections": found,
        "overlay": str(folder / "overlay.png"), "outlines": str(folder / "outlines.geojson"),
        "ui": ui_command(home), "seconds": round(time.monotonic() - started, 1),
    }
    write_json(folder / "summary.json", summary)
    return summary


def detect(server: str, image: Path, folder: Path, threshold: float) -> int:
    """Outlines of an image through the gRPC client, as GeoJSON and as a picture; the count."""
    from crater_model.mapping.detect import detect_files

    made = detect_files([image], [folder / "outlines.geojson", folder / "overlay.png"],
                        server=server, threshold=threshold)
    return made["detections"]


def unseen_scene(root: Path, home: Path) -> tuple[str, bytes]:
    """Name and PNG or JPEG bytes of a scene that training never saw.

    For the embedded data it is rendered afresh, larger and not square; of another data set
    it is the first scene of the test split.
    """
    crater = Crater.from_environment()
    if not crater.dataset:
        from crater_model.imagery.pixels import encode_png
        from crater_model.synthesis import render_scene

        rendered = render_scene(UNSEEN_SEED, *UNSEEN_SIZE)
        return "a freshly rendered scene of {}x{} px".format(*UNSEEN_SIZE), encode_png(
            rendered.image)
    from crater_model.annotations.dataset import load_dataset
    from crater_model.annotations.parts import chosen
    from crater_model.records.manifest import read_manifest

    records = _materialized(root, home, "tfrecords")
    dataset = load_dataset(crater.dataset_folder())
    test = read_manifest(crater.open_storage().fetch(records.artifact)).split("test")["scenes"]
    for scene in chosen(dataset, test).scenes:
        return f"the test scene {scene.scene}", dataset.encoded_image(scene)
    raise CraterError(f"{dataset.root}: has too few scenes for a test split; the model is "
                      "trained and served, but there is no unseen scene to show")


def untrained(root: Path, home: Path) -> list[str]:
    """The hyperparameter sets without a checked checkpoint of the present records.

    A YAML experiment may have changed under its name: then training itself finds out.
    """
    crater, records = Crater.from_environment(), _materialized(root, home, "tfrecords").artifact
    wanted = []
    for name, overrides in hyperparameters().items():
        made = _last(root, home, "checkpoint", name)
        start = (_materialized(root, home, PRETRAINED).artifact
                 if wants_pretrained(crater.experiment, overrides) else "none")
        present = {"records": records, "experiment": crater.experiment, "pretrained": start,
                   "hyperparameters": overrides, "code_version": CODE_VERSION}
        same = made is not None and made.check_passed and all(
            made.metadata.get(key) == value for key, value in present.items())
        if not same or crater.experiment.endswith((".yaml", ".yml")):
            wanted.append(name)
    return wanted


def training_note() -> str:
    """How far the training that wrote last has come."""
    storage = Crater.from_environment().open_storage()
    written = sorted(storage.path("checkpoints").glob("*/*/metrics.jsonl"),
                     key=lambda path: path.stat().st_mtime)
    lines = written[-1].read_text().splitlines() if written else []
    with contextlib.suppress(ValueError, IndexError, KeyError):
        row = json.loads(lines[-1])
        score = f"mask_AP {row['mask_AP']:.3f}" if "mask_AP" in row else (
            f"loss {row['total_loss']:.3f}")
        return f"step {row['step']}, {score}"
    return "starting"


@contextlib.contextmanager
def local_server(saved_model: Path) -> Iterator[str]:
    """`crater serve` on free ports of the loopback; gives HOST:PORT of its gRPC API."""
    from crater_model.serving.client import Client

    endpoint = f"127.0.0.1:{launch.free_port()}"
    command = [sys.executable, "-m", "crater_model.cli", "serve", str(saved_model),
               "--grpc-port", endpoint.rpartition(":")[2], "--rest-port", str(launch.free_port())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        with Client(endpoint) as client:
            client.wait_ready(120)
        yield endpoint
    finally:
        process.terminate()
        process.wait(30)


def summary_text(summary: dict[str, Any]) -> str:
    """The summary for people."""
    def score(value: float | None) -> str:
        return "none" if value is None else f"{value:.3f}"

    width = max(len(entry["name"]) for entry in summary["partitions"])
    lines = ["", f"Leaderboard (validation {summary['metric']})"]
    lines += [f"  {entry['name']:<{width}}  {score(entry['metric'])}  "
              + (format_seconds(entry["seconds"]) if entry["seconds"] else "")
              for entry in summary["partitions"]]
    lines += [
        "", f"The best, {summary['best']}, on {summary['test_scenes']} test scenes that training "
        f"never saw: mask AP {score(summary['mask_AP'])}, AP50 {score(summary['mask_AP50'])}",
        "", f"saved model  {summary['saved_model']}",
        f"image        {summary['image'] or summary['image_note']}",
        f"overlay      {summary['overlay']} ({summary['detections']} craters in "
        f"{summary['scene']})",
        f"outlines     {summary['outlines']}",
        f"web UI       {summary['ui']}",
        f"took         {format_seconds(summary['seconds'])}"]
    return "\n".join(lines)


def ui_command(home: Path) -> str:
    """The command that opens the web UI on what has been made."""
    settings = [f"{name}={shlex.quote(os.environ[name])}" for name in _VARIABLES
                if os.environ.get(name)]
    program = Path(sys.executable).with_name("dg")
    with contextlib.suppress(ValueError):
        program = program.relative_to(Path.cwd())
    return " ".join([*settings, f"DAGSTER_HOME={shlex.quote(str(home))}", str(program), "dev"])


def _last(root: Path, home: Path, asset: str, partition: str | None = None
          ) -> Materialization | None:
    with homes.instance_of(root, home) as instance:
        return last_materialization(instance, asset, partition)


def _materialized(root: Path, home: Path, asset: str) -> Materialization:
    found = _last(root, home, asset)
    if found is None:
        raise CraterError(f"{asset} has not been materialized")
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
