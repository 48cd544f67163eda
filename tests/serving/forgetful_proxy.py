"""A middleman that forgets connections, as NAT and load balancers do.

    python tests/serving/forgetful_proxy.py PORT TARGET_PORT [--idle SECONDS] [--age SECONDS]

Passes the bytes of TCP connections on, on loopback. One that was silent for `idle` seconds, or that
is `age` seconds old, is forgotten: what is sent on it from then on is taken and goes nowhere, and
neither side is told. New connections go through. Prints a line for each connection that something
was lost on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import time


class Flow:
    """One connection through the middleman."""

    def __init__(self, idle_s: float, age_s: float):
        self._idle_s, self._age_s = idle_s, age_s
        self._born = self._active = time.monotonic()
        self._forgotten = False

    def passes(self) -> bool:
        """Whether what came just now is passed on."""
        now = time.monotonic()
        if not self._forgotten and (now - self._active > self._idle_s
                                    or now - self._born > self._age_s):
            self._forgotten = True
            print("forgotten", flush=True)
        self._active = now
        return not self._forgotten

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.passes():
                    writer.write(data)
                    await writer.drain()
        if not self._forgotten:  # nor is the end of one side told to the other
            writer.close()


async def serve(port: int, target: int, idle_s: float, age_s: float) -> None:
    async def connected(reader, writer):
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        flow = Flow(idle_s, age_s)
        await asyncio.gather(flow.pump(reader, back), flow.pump(there, writer))
        for end in (writer, back):
            end.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--idle", type=float, default=math.inf)
    parser.add_argument("--age", type=float, default=math.inf)
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.target, options.idle, options.age))


if __name__ == "__main__":
    main()
