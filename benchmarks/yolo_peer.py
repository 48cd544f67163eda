"""The peer's side of `yolo.py`: YOLO11n-seg, trained and asked.

It runs in an environment of its own, in which Ultralytics is installed, and imports nothing of
this project; the project imports nothing of Ultralytics (AGPL). `yolo.py` starts it.

    PYTHON yolo_peer.py train DATA_YAML FOLDER SECONDS OVERLAP_MASK [THREADS]
    PYTHON yolo_peer.py predict WEIGHTS IMAGES OUT
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

STARTED = time.time()
SIDE = 256
# Model and settings are Ultralytics' defaults but for what is named here and in the calls.
MODEL = "yolo11n-seg.yaml"
# What ends a run after its last batch: one validation image and the weights.
CLOSING_SECONDS = 5.0


def train(data: str, folder: str, seconds: str, overlap_mask: str, threads: str = "all") -> dict:
    """From scratch, until `seconds` after this process began.

    All the time trains: no validation, plots or compilation; the images stay in memory. `threads`
    is "all" for one a core, or "stock" for one less, which is Ultralytics' own choice.
    """
    import torch
    from ultralytics import YOLO

    deadline = STARTED + float(seconds) - CLOSING_SECONDS

    def begin(trainer) -> None:
        # Here its own clock starts: what has passed since the process began is counted off.
        trainer.args.time = max(deadline - time.time(), 1.0) / 3600.0
        if threads == "all":
            torch.set_num_threads(len(os.sched_getaffinity(0)))

    model = YOLO(MODEL, task="segment")
    model.add_callback("on_train_start", begin)
    model.train(data=data, imgsz=SIDE, time=float(seconds) / 3600.0, pretrained=False, val=False,
                plots=False, cache="ram", device="cpu", workers=2, seed=0, deterministic=True,
                overlap_mask=overlap_mask == "true", project=folder, name="run", exist_ok=True)
    run = model.trainer
    return {"weights": str(Path(run.save_dir) / "weights" / "last.pt"), "epochs": run.epoch + 1,
            "images": len(run.train_loader.dataset), "batch": run.batch_size,
            "optimizer": type(run.optimizer).__name__}


def predict(weights: str, images: str, out: str) -> dict:
    """Masks at the images' full resolution, one .npz an image: `scores` and packed `masks`."""
    import numpy as np
    from ultralytics import YOLO

    model, folder, found = YOLO(weights), Path(out), 0
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(Path(images).iterdir()):
        result, = model.predict(path, imgsz=SIDE, conf=0.001, max_det=1000, retina_masks=True,
                                device="cpu", verbose=False)
        height, width = result.orig_shape
        masks = (np.zeros((0, height, width), bool) if result.masks is None
                 else result.masks.data.numpy() > 0)
        np.savez(folder / f"{path.name}.npz", scores=result.boxes.conf.numpy(),
                 masks=np.packbits(masks, axis=-1), size=(height, width))
        found += len(masks)
    return {"detections": found}


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    values = {"train": train, "predict": predict}[task](*arguments)
    from importlib.metadata import version
    names = ("ultralytics", "torch")
    print("\n" + json.dumps({**values, "packages": {name: version(name) for name in names}}))
