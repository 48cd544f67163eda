"""How many requests are on the way at the same time."""

from __future__ import annotations

import asyncio
import math
from collections import deque

SHRINK, SHRINK_PAUSE_S = 0.8, 1.0


class Slots:
    """A limit that gives way to servers that are over theirs.

    When a request is refused for want of room, four fifths of those on the way are allowed from
    then on; with the answers that come it grows by one for as many as are allowed (additive
    increase, multiplicative decrease: Chiu and Jain 1989). Those that were refused so find room
    when they ask again, before new ones come. Waits in the order of asking. Use it as an async
    context manager, on one event loop.

    Attributes:
      most: requests on the way at the same time, at most.
      allowed: as many as there may be now.
      used: as many as there are.
    """

    def __init__(self, most: int):
        self.most, self.allowed, self.used = most, float(most), 0
        self._waiting: deque[asyncio.Future] = deque()
        self._shrunk_at = -math.inf

    async def __aenter__(self) -> None:
        if self.used < int(self.allowed) and not self._waiting:
            self.used += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn came at the same moment
                self._give_back()
            raise

    async def __aexit__(self, *_) -> None:
        self._give_back()

    def _give_back(self) -> None:
        self.used -= 1
        while self._waiting and self.used < int(self.allowed):
            turn = self._waiting.popleft()
            if not turn.done():
                self.used += 1
                turn.set_result(None)

    def answered(self) -> None:
        """A server had room."""
        self.allowed = min(self.most, self.allowed + 1.0 / self.allowed)

    def refused(self, now: float) -> None:
        """A server had none; `now` is the loop's time in s. Refusals at about the same moment
        count once."""
        if now - self._shrunk_at >= SHRINK_PAUSE_S:
            self._shrunk_at = now
            self.allowed = max(1.0, SHRINK * min(self.allowed, self.used))
