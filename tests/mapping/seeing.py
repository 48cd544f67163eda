"""Oracles in a network's place that see an image's pixels, or know what a whole image shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from crater_model.detections import Detections
from crater_model.imagery.raster import open_raster
from crater_model.mapping.coverage import shown_ground
from crater_model.mapping.craters import Craters
from crater_model.mapping.maps import Map
from crater_model.mapping.sweep import Stream, map_image

_MASK, _LEAST_PX = 56, 60


def knows(circles: np.ndarray) -> Stream:
    """A stream that finds in each image, which is a whole one, these circles: x, y and diameter
    in px, [n, 3]."""
    def stream(images: Iterable[np.ndarray]) -> Iterator[Detections]:
        turn = np.mgrid[:_MASK, :_MASK] + 0.5 - _MASK / 2
        disc = ((turn**2).sum(axis=0) < (_MASK / 2)**2) * np.uint8(255)
        for image in images:
            x, y, d = np.asarray(circles, np.float32).T
            boxes = np.stack([y - d / 2, x - d / 2, y + d / 2, x + d / 2], axis=1)
            yield _found(boxes, np.repeat(disc[None], len(boxes), axis=0), image.shape[:2])
    return stream


def sees_black(images: Iterable[np.ndarray]) -> Iterator[Detections]:
    """A stream that takes each patch of black for what it looks for."""
    for image in images:
        _, labels, stats, _ = cv2.connectedComponentsWithStats((image <= 1).astype(np.uint8))
        boxes, masks = [], []
        for number in np.flatnonzero(stats[:, 4] >= _LEAST_PX):
            left, top, width, height, _ = stats[number]
            if number and width < image.shape[1]:
                part = (labels[top:top + height, left:left + width] == number).astype(np.uint8)
                masks.append(cv2.resize(part * 255, (_MASK, _MASK)))
                boxes.append([top, left, top + height, left + width])
        yield _found(np.array(boxes, np.float32).reshape(-1, 4),
                     np.array(masks, np.uint8).reshape(-1, _MASK, _MASK), image.shape[:2])


def mapped(path, stream: Stream, tile: int = 1024) -> Map:
    """The map of an image file at full resolution, as `crater detect` makes it."""
    with open_raster(path) as raster:
        craters = Craters.joined(list(map_image(stream, raster, tile)))
        ground = shown_ground(raster)
        return Map(str(path), craters, raster.georeference, ground and ground.shape,
                   ground and ground.pixels)


def _found(boxes: np.ndarray, masks: np.ndarray, size: tuple[int, int]) -> Detections:
    return Detections(boxes, np.full(len(boxes), 0.9, np.float32), np.ones(len(boxes), np.int64),
                      masks, size)


def sees_pits(images: Iterable[np.ndarray]) -> Iterator[Detections]:
    """A stream that takes each patch much darker or brighter than the ground, made convex."""
    for image in images:
        off = np.abs(image.astype(int) - int(np.median(image))) > 25
        joined = cv2.morphologyEx(off.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8))
        boxes, masks = [], []
        for outline in cv2.findContours(joined, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
            left, top, width, height = cv2.boundingRect(outline)
            if cv2.contourArea(outline) >= _LEAST_PX:
                part = np.zeros((height, width), np.uint8)
                cv2.fillPoly(part, [cv2.convexHull(outline) - [left, top]], 255)
                masks.append(cv2.resize(part, (_MASK, _MASK)))
                boxes.append([top, left, top + height, left + width])
        yield _found(np.array(boxes, np.float32).reshape(-1, 4),
                     np.array(masks, np.uint8).reshape(-1, _MASK, _MASK), image.shape[:2])
