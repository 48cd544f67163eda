"""Who is at fault when a request is refused: an image, another client's, or the request.

TF Serving joins requests and gives all of a joined batch one status, so that another client's bad
image refuses ours; it refuses an unknown label or too many images with the same status. What
decides is what the same server says to the image alone, and to one that nobody can find fault with.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import cv2
import numpy as np

from crater_model.serving.client.failures import Failure, Kind

# A neighbour's bad image, joined with ours, may refuse us once or twice.
TRIES = 3
_PAUSE_S = 0.02, 0.1

Ask = Callable[[list[bytes]], Awaitable[Any]]


@cache
def plain() -> bytes:
    """A PNG that is in order."""
    return cv2.imencode(".png", np.full((64, 80), 128, np.uint8))[1].tobytes()


async def alone(ask: Ask, image: bytes) -> Any:
    """What `ask` gives for an image by itself.

    Raises:
      Failure: REFUSED where the image is at fault; FINAL where the request is, whatever the
        image.
    """
    try:
        return await asked(ask, [image])
    except Failure as failure:
        if failure.kind is Kind.REFUSED:
            await _blamed(ask, [plain()])
        raise


async def together(ask: Ask, count: int) -> None:
    """Makes sure that so many images may be in a request, of which each alone is taken.

    Raises:
      Failure: FINAL where they may not.
    """
    await _blamed(ask, [plain()] * count, f"{count} images in a request are refused, where one is "
                                          "not: give a smaller max_batch")


async def _blamed(ask: Ask, images: list[bytes], words: str = "") -> None:
    """Raises Failure, FINAL, where a request of plain images is refused too."""
    try:
        await asked(ask, images)
    except Failure as failure:
        if failure.kind is not Kind.REFUSED:
            raise
        reason = f"{words} ({failure.reason})" if words else failure.reason
        raise Failure(Kind.FINAL, failure.code, reason) from None


async def asked(ask: Ask, images: list[bytes]) -> Any:
    """Asks, and asks again while it is refused, TRIES times in all."""
    for left in reversed(range(TRIES)):
        try:
            return await ask(images)
        except Failure as failure:
            if failure.kind is not Kind.REFUSED or not left:
                raise
        await asyncio.sleep(random.uniform(*_PAUSE_S))
    raise AssertionError("unreachable")
