"""How one scene is cut into blocks, one for each of two or three splits, with gaps between.

A gap is as wide as the largest crater used, so that no crater reaches from one block into
another; what lies in it is in no split.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crater_model.annotations.parts import ROUNDING_PX, Block, extent
from crater_model.annotations.scene import Scene

# Smaller blocks (px a side) would hold no more than a crater or two.
_LEAST_SIDE = 32
# The widest craters are left out where they leave no room for blocks, up to this share.
_LEFT_OUT = 0.1
_GAPS_TRIED = 32
# Cuts this near to the best one are as good; the seed chooses among them.
_AS_GOOD = 0.8


@dataclass(frozen=True)
class Cut:
    """A scene's blocks.

    Attributes:
      blocks: one for each share that was asked for, in that order.
      gap: px between two blocks at least.
      widest: craters wider than this (px) were left out; None: none had to be.
      score: how good the cut is; more is better, only to compare cuts of one data set.
    """

    blocks: tuple[Block, ...]
    gap: int
    widest: int | None
    score: float


def cut_scene(scene: Scene, shares: Sequence[float], seed: int) -> Cut | None:
    """The cut with the widest blocks and the craters shared out best; None where none is good.

    Every block is as wide and high as the gap and holds craters.

    Args:
      scene: a whole image.
      shares: of two or three splits, any sum.
      seed: which of the cuts that are as good.
    """
    middles = np.array([((i.box[1] + i.box[3]) / 2, (i.box[0] + i.box[2]) / 2)
                        for i in scene.instances]).reshape(-1, 2)
    widths = np.array([extent(i) for i in scene.instances])
    for gap, kept in _gaps(widths):
        cuts = []
        for blocks in _layouts(scene.width, scene.height, shares, gap):
            score = _score(blocks, shares, gap, middles[kept])
            if score > 0:
                cuts.append(Cut(blocks, gap, None if kept.all() else gap, score))
        if cuts:
            best = max(cut.score for cut in cuts)
            good = [cut for cut in cuts if cut.score >= _AS_GOOD * best]
            return good[seed % len(good)]
    return None


def _gaps(widths: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Gaps to try, the widest first, and which craters are used with each."""
    order = np.sort(widths)[::-1]
    most = int(_LEFT_OUT * len(order))
    tried = set()
    for rank in np.unique(np.linspace(0, most, min(_GAPS_TRIED, most + 1)).astype(int)):
        gap = math.ceil(order[rank] - ROUNDING_PX) if len(order) else 0
        if gap not in tried:
            tried.add(gap)
            yield gap, widths <= gap + ROUNDING_PX


def _layouts(width: int, height: int, shares: Sequence[float], gap: int
             ) -> Iterator[tuple[Block, ...]]:
    """Blocks of about these shares of the area: side by side, or one beside the two others;
    along x and along y, in any order."""
    for turned in (False, True):
        long, across = (height, width) if turned else (width, height)
        for order in itertools.permutations(range(len(shares))):
            plans = [_in_a_row(long, across, [shares[i] for i in order], gap)]
            if len(shares) == 3:
                plans.append(_one_and_two(long, across, [shares[i] for i in order], gap))
                plans.append([_mirrored(block, long) for block in plans[-1]])
            for plan in plans:
                blocks = [Block(*(b[1], b[0], b[3], b[2])) if turned else b for b in plan]
                yield tuple(blocks[order.index(i)] for i in range(len(shares)))


def _in_a_row(long: int, across: int, shares: Sequence[float], gap: int) -> list[Block]:
    room = long - gap * (len(shares) - 1)
    ends = np.round(np.cumsum([0, *shares]) / sum(shares) * room).astype(int).tolist()
    return [Block(start + n * gap, 0, end - start, across)
            for n, (start, end) in enumerate(itertools.pairwise(ends))]


def _one_and_two(long: int, across: int, shares: Sequence[float], gap: int) -> list[Block]:
    """The first block over all of `across`, the others beside it and below each other."""
    one, two, three = shares
    room = across - gap
    # The two lose the gap between them, and get as much more of the length.
    beside = (long - gap) * across * (two + three) / (one * room + across * (two + three)) if (
        room > 0) else 0.0
    beside, upper = round(beside), round(room * two / (two + three))
    left = long - gap - beside
    return [Block(0, 0, left, across), Block(left + gap, 0, beside, upper),
            Block(left + gap, upper + gap, beside, room - upper)]


def _mirrored(block: Block, long: int) -> Block:
    return block._replace(x=long - block.x - block.width)


def _score(blocks: Sequence[Block], shares: Sequence[float], gap: int, middles: np.ndarray
           ) -> float:
    """0 where a block is too small or has no crater."""
    least = min(min(block.width, block.height) for block in blocks)
    if least < max(gap, _LEAST_SIDE):
        return 0.0
    counts = [int((((middles >= block[:2])
                    & (middles < np.add(block[:2], block[2:]))).all(axis=1)).sum())
              for block in blocks]
    total = sum(counts)
    return least * min(1.0, *(count / total / (share / sum(shares)) for count, share in zip(
        counts, shares, strict=True))) if total else 0.0
