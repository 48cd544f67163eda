"""What `soak.py` needs: the two versions, and what they answer."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from pathlib import Path

from benchmarks.serving_sides import tile_bytes

EXPECTED = "expected.npz"
TILES = 24
METRICS = "/monitoring/prometheus/metrics"


def answers(folder: str, versions: dict[str, str]) -> dict:
    """Keeps the tiles, and what each version's SavedModel gives for them, in `EXPECTED`."""
    import numpy as np
    import tensorflow as tf

    tiles, counts = tile_bytes(folder, TILES), {}
    values = {"tiles": np.array([np.frombuffer(tile, np.uint8) for tile in tiles], object)}
    for version, path in versions.items():
        signature = tf.saved_model.load(path).signatures["serving_default"]
        for number, tile in enumerate(tiles):
            outputs = signature(image_bytes=tf.constant([tile]))
            for name in ("detection_boxes", "detection_scores"):
                values[f"{version}_{number}_{name}"] = outputs[name][0].numpy()
            counts[version] = counts.get(version, 0) + int(outputs["num_detections"][0])
    np.savez(Path(folder) / EXPECTED, **values)
    return {"tiles": len(tiles), "detections_of_version": counts}


class Expected:
    """The tiles and what each version finds in them."""

    def __init__(self, file: Path):
        import numpy as np

        with np.load(file, allow_pickle=True) as values:
            self.tiles = [tile.tobytes() for tile in values["tiles"]]
            self._found = {name: values[name] for name in values.files if name != "tiles"}

    def versions_of(self, number: int, found) -> set[int]:
        """The versions that give these detections for the tile: one, both or neither."""
        import numpy as np

        given = set()
        for version in (1, 2):
            boxes = self._found[f"{version}_{number}_detection_boxes"]
            scores = self._found[f"{version}_{number}_detection_scores"]
            if (boxes.shape == found.boxes.shape
                    and np.allclose(boxes, found.boxes, rtol=0, atol=0.01)
                    and np.allclose(scores, found.scores, rtol=0, atol=0.001)):
                given.add(version)
        return given


def answers_of(rest_port: int) -> Counter:
    """Requests by status as the server itself counts them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{rest_port}{METRICS}", timeout=20) as answer:
        text = answer.read().decode()
    counts = Counter()
    for line in text.splitlines():
        match = re.match(r':tensorflow:serving:request_count\{(.*)\} (\S+)', line)
        if match:
            status = re.search(r'status="([^"]*)"', match[1])[1]
            counts[status] += int(float(match[2]))
    return counts
