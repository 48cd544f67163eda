"""Images that show the same ground under different names, told from their pixels.

Whole pictures are compared as thumbnails in all eight orientations, which finds what was
rescaled, brightened, recompressed, flipped or turned. Parts of pictures (crops, shifted
and overlapping pictures) are found by local features, upright or turned by any angle.
Either way the two pictures are then laid over each other and must agree where they
overlap; different terrain does not, however much its craters look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from crater_model.imagery.previews import THREADS, Preview
from crater_model.progress import track

# Px of the longer side of the pictures that are compared, with up to this many images and
# with more. Parts are looked for only in the larger ones.
SIDE, MOST_WITH_PARTS, SIDE_OF_MANY = 256, 2500, 96
# Correlation of laid-over pictures from which they show the same ground; that which is asked
# for where few features led to them; and the share of the smaller one that must be shown by
# the other. (Of copies and crops 99 % come out above 0.9; other terrain came up to 0.73.)
LIKENESS, LIKENESS_OF_FEW = 0.8, 0.9
OVERLAP = 0.1
# Correlation of thumbnails from which whole pictures are compared.
_THUMB = 32
_THUMB_LIKENESS = 0.7
# Features: of each picture; of all (comparing them takes the square of it); cosine from
# which two are matched; matches that agree in turn and scale; of them that fit one
# transform, at least and so many that the transform is refined whatever it gives; and the
# correlation from which it is worth refining.
_FEATURES, _FEATURES_OF_ALL = 56, 60_000
_SAME_FEATURE = 0.9
_MATCHES, _MANY_MATCHES = 3, 5
_TURN_DEG, _SCALE_LOG2 = 20.0, 0.4
_WORTH_REFINING, _FINE_FEATURES, _FINE_MATCHES = 0.2, 400, 8
_AT_ONCE, _FEATURES_AT_ONCE = 512, 256
# Pictures that overlap by fewer px (an eighth of the coarser one will do), or that vary less
# (grey levels), tell nothing: it may be one crater each.
_LEAST_PX = 4000
_FLAT = 0.3
# Fewer grey levels than these are not stretched to all, for what they would show is noise.
_LEAST_CONTRAST = 8


@dataclass(frozen=True)
class Pair:
    """Pictures `first` < `second` (places in the list) that agree by `likeness` (0..1)."""

    first: int
    second: int
    likeness: float


def side_for(images: int) -> int:
    """Px that the longer side of each picture should have, among this many."""
    return SIDE if images <= MOST_WITH_PARTS else SIDE_OF_MANY


def look_alikes(pictures: Sequence[Preview], grounds: Sequence[int],
                known: Callable[[int, int], bool]) -> Iterator[Pair]:
    """Yields pairs of pictures that show the same ground.

    Args:
      pictures: with a longer side of `side_for(len(pictures))` px (or less: their own).
      grounds: a number for what each is known to show, ascending; pictures with the same
        one are not compared.
      known: known(i, j) tells of a pair, just before it is looked at, that it is of no
        interest.
    """
    if not len(grounds) or grounds[0] == grounds[-1]:
        return
    for i, j, matrix in _whole(pictures):
        if grounds[i] != grounds[j] and not known(i, j):
            value = _likeness(pictures[i], pictures[j], matrix)
            if value >= LIKENESS:
                yield Pair(i, j, round(value, 3))
    if len(pictures) > MOST_WITH_PARTS:
        return
    for i, j, matrix, matches in _parts(pictures, np.asarray(grounds)):
        if not known(i, j):
            value = _refined(pictures[i], pictures[j], matrix, matches)
            if value >= (LIKENESS if matches > _MATCHES else LIKENESS_OF_FEW):
                yield Pair(i, j, round(value, 3))


def _likeness(one: Preview, other: Preview, matrix: np.ndarray) -> float:
    """Correlation of two pictures' middle frequencies where they overlap, 0 where too little.

    `matrix` [2, 3] takes px of `one` (0 is the first pixel's middle) to px of `other`.
    """
    size = abs(np.linalg.det(matrix[:, :2]))
    if not 1 / 400 < size < 400:
        return 0.0
    if size < 1:  # the coarser picture is the frame; it shows nothing that the other does not
        one, other, size = other, one, 1 / size
        matrix = cv2.invertAffineTransform(matrix)
    fine = other.grey if size < 1.5 else cv2.GaussianBlur(other.grey, (0, 0), 0.4 * size**0.5)
    turned, there = (cv2.warpAffine(picture, matrix, one.grey.shape[::-1],
                                    flags=how | cv2.WARP_INVERSE_MAP)
                     for picture, how in ((fine, cv2.INTER_LINEAR),
                                          (other.valid.astype(np.uint8), cv2.INTER_NEAREST)))
    mask = cv2.erode(there * one.valid, np.ones((7, 7), np.uint8), borderType=cv2.BORDER_CONSTANT,
                     borderValue=0) > 0
    smaller = min(one.valid.sum(), other.valid.sum() / size)
    if mask.sum() < max(OVERLAP * smaller, min(_LEAST_PX, one.valid.sum() / 8), 16):
        return 0.0
    x, y = (_middle_frequencies(picture, mask) for picture in (one.grey, turned))
    strength = float(np.linalg.norm(x) * np.linalg.norm(y))
    flat = min(x.std(), y.std()) < _FLAT
    return 0.0 if flat else float(x @ y) / strength


def _middle_frequencies(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What is left of the masked pixels without noise, shading and mean."""
    values = np.where(mask, picture, picture[mask].mean()).astype(np.float32)
    sigma = max(3.0, max(picture.shape) / 32)
    band = cv2.GaussianBlur(values, (0, 0), 1.0) - cv2.GaussianBlur(values, (0, 0), sigma)
    return band[mask] - band[mask].mean()


# --- whole pictures -----------------------------------------------------------------------


def _whole(pictures: Sequence[Preview]) -> Iterator[tuple[int, int, np.ndarray]]:
    """Pairs (i, j) whose thumbnails agree, with the transform from i's px to j's."""
    thumbs = np.stack([_thumbnail(picture) for picture in pictures])
    flat = _unit(thumbs)
    for start in range(0, len(thumbs), _AT_ONCE):
        best = np.full((min(_AT_ONCE, len(thumbs) - start), len(thumbs) - start), _THUMB_LIKENESS)
        which = np.full(best.shape, -1, np.int8)
        for number in range(8):
            turned = _unit(_turned(thumbs[start:], number))
            values = flat[start:start + _AT_ONCE] @ turned.T
            better = values > best
            best[better], which[better] = values[better], number
        for a, b in np.argwhere(np.triu(which >= 0, 1)):
            i, j = int(start + a), int(start + b)
            yield i, j, _orientation(int(which[a, b]), pictures[i], pictures[j])


def _thumbnail(picture: Preview) -> np.ndarray:
    grey = picture.grey.astype(np.float32)
    if picture.valid.any():
        grey[~picture.valid] = grey[picture.valid].mean()
    small = cv2.resize(grey, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return small - cv2.GaussianBlur(small, (0, 0), _THUMB / 8)


def _turned(thumbs: np.ndarray, number: int) -> np.ndarray:
    """Thumbnails [n, s, s] in one of the eight orientations."""
    turned = np.rot90(thumbs, number % 4, (1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if number > 3 else turned)


def _unit(thumbs: np.ndarray) -> np.ndarray:
    rows = thumbs.reshape(len(thumbs), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > _FLAT, rows / np.maximum(length, 1e-6), 0)


def _orientation(number: int, one: Preview, other: Preview) -> np.ndarray:
    """The transform [2, 3] that `_turned(..., number)` of `other` stands for."""
    quarter = np.array([[0.0, -1, 1], [1, 0, 0], [0, 0, 1]])  # of a square of side 1
    flip = np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]]) if number > 3 else np.eye(3)
    to_square, to_other = (np.array([[s[1], 0, -0.5], [0, s[0], -0.5], [0, 0, 1.0]])
                           for s in (one.grey.shape, other.grey.shape))
    turn = np.linalg.matrix_power(quarter, number % 4) @ flip
    return (to_other @ turn @ np.linalg.inv(to_square))[:2]


# --- parts of pictures --------------------------------------------------------------------


def _parts(pictures: Sequence[Preview], grounds: np.ndarray
           ) -> Iterator[tuple[int, int, np.ndarray, int]]:
    """Pairs (i, j) with features that agree, the transform from i's px to j's and the
    number of features."""
    count = min(_FEATURES, max(8, _FEATURES_OF_ALL // len(pictures)))
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda picture: _features(picture, count), pictures))
    points = np.concatenate([p for p, _ in found])
    owner = np.repeat(np.arange(len(found)), [len(p) for p, _ in found])
    matches = _matches(np.concatenate([d for _, d in found]), grounds[owner])
    order = np.lexsort((owner[matches[:, 1]], owner[matches[:, 0]]))
    matches = matches[order]
    pair, first = np.unique(owner[matches], axis=0, return_index=True)
    # Nothing at all is split into one piece of nothing.
    for (i, j), rows in zip(pair.tolist(), np.split(matches, first[1:]), strict=False):
        if len(rows) < _MATCHES:
            continue
        one, other = points[rows[:, 0]], points[rows[:, 1]]
        agree = _consistent(one, other)
        if agree.sum() < _MATCHES:
            continue
        matrix, inside = cv2.estimateAffinePartial2D(one[agree, :2], other[agree, :2],
                                                     ransacReprojThreshold=4)
        if matrix is not None and inside.sum() >= _MATCHES:
            yield i, j, matrix, int(agree.sum())


def _features(picture: Preview, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The strongest features: [n, 4] (x, y px, log2 of the size, deg) and [n, 128], unit."""
    mask = cv2.erode(picture.valid.astype(np.uint8), np.ones((9, 9), np.uint8))
    points, descriptors = cv2.SIFT.create(count).detectAndCompute(_contrasted(picture), mask)
    if descriptors is None:
        return np.zeros((0, 4), np.float32), np.zeros((0, 128), np.float32)
    points, descriptors = points[:count], descriptors[:count]
    descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
    return np.array([(*p.pt, np.log2(p.size), p.angle) for p in points], np.float32), descriptors


def _contrasted(picture: Preview) -> np.ndarray:
    """The picture at full contrast: how many features are found must not depend on it."""
    if not picture.valid.any():
        return picture.grey
    low, high = np.percentile(picture.grey[picture.valid], (1, 99))
    stretched = (picture.grey - low) * (200 / max(high - low, _LEAST_CONTRAST)) + 28
    return np.clip(stretched, 0, 255).astype(np.uint8)


def _matches(descriptors: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """[n, 2] places of features and the two most alike on other grounds, the lower first and
    sorted. `ground` [n] is ascending."""
    found = [np.zeros((0, 2), int)]
    begin, end = (np.searchsorted(ground, ground, side) for side in ("left", "right"))
    for start in track(range(0, len(descriptors), _FEATURES_AT_ONCE), "comparing parts of images"):
        rows = np.arange(start, min(start + _FEATURES_AT_ONCE, len(descriptors)))
        values = descriptors[rows] @ descriptors.T
        for n, row in enumerate(rows):
            values[n, begin[row]:end[row]] = -1  # of its own ground
        for _ in range(2):
            best = values.argmax(axis=1)
            good = values[np.arange(len(rows)), best] > _SAME_FEATURE
            found.append(np.stack([rows[good], best[good]], axis=1))
            values[np.arange(len(rows)), best] = -1
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _consistent(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which matches belong to the largest number that agree in turn and scale."""
    scale, turn = other[:, 2] - one[:, 2], other[:, 3] - one[:, 3]
    near = np.abs(scale[:, None] - scale) < _SCALE_LOG2
    near &= np.abs((turn[:, None] - turn + 180) % 360 - 180) < _TURN_DEG
    return near[near.sum(axis=1).argmax()]


def _refined(one: Preview, other: Preview, matrix: np.ndarray, matches: int) -> float:
    """The likeness under a transform, or under a better one with shear if it may be one."""
    value = _likeness(one, other, matrix)
    if value >= LIKENESS_OF_FEW or (value < _WORTH_REFINING and matches < _MANY_MATCHES):
        return value
    (points, descriptors), (others, other_descriptors) = (
        _features(picture, _FINE_FEATURES) for picture in (one, other))
    if min(len(points), len(others)) < 2:
        return value
    values = descriptors @ other_descriptors.T
    best = values.argmax(axis=1)
    mutual = values.argmax(axis=0)[best] == np.arange(len(best))
    if mutual.sum() < _FINE_MATCHES:
        return value
    matrix, inside = cv2.estimateAffine2D(points[mutual, :2], others[best[mutual], :2],
                                          ransacReprojThreshold=3)
    if matrix is None or inside.sum() < _FINE_MATCHES:
        return value
    return max(value, _likeness(one, other, matrix))
