"""How `yolo.py` scores both sides alike: outlines of tiles, merged, by pycocotools' COCOeval.

Nothing here knows which side found what. A tile's outlines come in the tile's px and are put
into the scene's; those of one crater in several tiles are merged by `mapping.merge`'s rule; labels
and detections become run-length masks at the scene's resolution in one way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from benchmarks import coco

# A circle of 10 px drawn with 32 corners, as the mosaics' labels are, has 78.04 px^2.
AREA_10 = 78.0
EVERY = 1e10
RANGES = {"": (0.0, EVERY), "_10px": (AREA_10, EVERY)}
# As in `mapping.tiles`: so close to an inner edge of its tile (scene px) a detection is cut.
EDGE = 2.0


@dataclass(frozen=True)
class Found:
    """Detections in one image: `outlines` (shapely polygons in px, object [n]), `scores` [n]."""

    outlines: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, outlines: Iterable, scores: Sequence[float]) -> Found:
        return cls(np.array([*outlines, None], object)[:-1], np.asarray(scores, np.float64))


def label_lines(scene) -> list[str]:
    """A scene's labels as YOLO segments: class from 0, then x and y as shares of its sides."""
    lines = []
    for instance in scene.instances:
        ring = max(instance.rings, key=lambda ring: shapely.Polygon(ring).area)
        points = np.clip(np.asarray(ring) / (scene.width, scene.height), 0.0, 1.0)
        lines.append(f"{instance.class_id - 1} "
                     + " ".join(f"{value:.6f}" for value in points.ravel()))
    return lines


def mask_outlines(masks: np.ndarray) -> list:
    """Outlines of binary masks [n, h, w] over a whole image, px."""
    from crater_model.detections.contours import mask_outline

    height, width = masks.shape[1:]
    whole = np.array([0, 0, height, width])
    return [mask_outline(mask.astype(np.float32), whole) for mask in masks]


def merged(size: tuple[int, int], tiles: Sequence[tuple], most_cut: float = EDGE) -> Found:
    """One scene's detections in its px, from (tile, `Found` in the tile's px) of all its tiles.

    Args:
      size: (width, height) px of the scene.
      tiles: `annotations.dataset.Scene`s with offset and scale, and what was found in each.
    """
    from crater_model.mapping.merge import same_crater_keep

    shapes, cut = [], []
    for tile, found in tiles:
        placed = shapely.transform(found.outlines, tile.to_scene)
        shapes.append(placed)
        cut.append(touches_inner_edge(placed, tile, size, most_cut))
    joined = Found(np.concatenate(shapes), np.concatenate([found.scores for _, found in tiles]))
    if len(tiles) == 1 or not len(joined.scores):
        return joined
    keep = same_crater_keep(joined.outlines, joined.scores, np.ones(len(joined.scores), int),
                            np.concatenate(cut))
    return Found(joined.outlines[keep], joined.scores[keep])


def touches_inner_edge(shapes: np.ndarray, tile, size: tuple[int, int], edge: float) -> np.ndarray:
    """Which outlines (scene px) end at an edge of the tile that is not one of the scene's."""
    low, high = tile.to_scene(np.array([(0, 0), (tile.width, tile.height)]))
    left, top, right, bottom = shapely.bounds(shapes).reshape(-1, 4).T
    return (((low[0] > 0) & (left < low[0] + edge)) | ((low[1] > 0) & (top < low[1] + edge))
            | ((high[0] < size[0]) & (right > high[0] - edge))
            | ((high[1] < size[1]) & (bottom > high[1] - edge)))


def coco_scores(images: Sequence[tuple]) -> dict[str, float]:
    """Mask AP and AP50 over (scene with its labels, `Found`) pairs, no detection cut off.

    `mask_AP`, `mask_AP50` count every crater; with `_10px` those of 10 px or more, as COCOeval does
    it for a range of areas: a smaller label need not be found, nor is it wrong to find one, and
    what finds nothing and is smaller itself does not count.
    """
    labels, found = [], []
    sizes = [(scene.height, scene.width) for scene, _ in images]
    for number, ((scene, given), size) in enumerate(zip(images, sizes), start=1):
        for instance in scene.instances:
            labels.append(coco.entry(number, instance.rings, size, area=instance.area, iscrowd=0,
                                     id=len(labels) + 1))
        for outline, score in zip(given.outlines, given.scores):
            ring = np.asarray(outline.exterior.coords)[:-1]
            found.append(coco.entry(number, [ring], size, score=float(score)))
    counts = {"labels": len(labels), "detections": len(found)}
    names = [f"mask_{name}{end}" for end in RANGES for name in ("AP", "AP50")]
    if not found:
        return {**dict.fromkeys(names, 0.0), **counts}
    precision = coco.precision("segm", coco.document(sizes, labels), found,
                               max(len(given.scores) for _, given in images), RANGES.values())
    values = [float(part.mean()) for place in range(len(RANGES))
              for part in (precision[..., place], precision[0, :, place])]
    counts["labels_10px"] = sum(one["area"] >= AREA_10 for one in labels)
    return {**{name: round(value, 4) for name, value in zip(names, values)}, **counts}
