"""Two servers under more load than they can take, while everything happens to them.

    python benchmarks/soak.py --out DIR [--minutes 10] [--model MODEL_DIR] [--quick]

Prints one JSON object; exits 1 where something is not `as_wanted`. Two processes of `crater serve`
hold the same folder of versions, and `AsyncClient` asks both for tiles all the time, so many at
once that the servers can hold half of them, waiting and running, and refuse the others
(UNAVAILABLE: the queue is full), which are asked again. Beside them come hostile requests, one in twenty:
garbage, truncated and gigantic images, a wrong type, an unknown model, version and signature. The
first endpoint is reached through `forgetful_proxy`, which forgets each connection after a twentieth
of the time without a word, as load balancers do; what was on the way is found lost after half of a
try's time, and asked again. At half of the time a second version of the model appears in the folder;
at six tenths the other endpoint is killed (SIGKILL), at two thirds it is started again.

Every answer is compared with what one of the two versions gives in a process of its own (boxes to
0.01 px, scores to 0.001: batches are put together differently), the second one not before it is
there and the first one not once both endpoints have the second. Memory is each server process's
resident size; `growth` is what its last tenth is above the tenth from eight tenths of the time on, when everything
has happened.

The model is that of `--model` or a short training of the preset `demo`. The second version is
the same with another score threshold.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from common import ROOT, in_child, kept, machine, main_child, print_json, say
from serving_sides import free_port
from soak_sides import EXPECTED, TASKS, Expected, Hostile, answers_of

HOSTILE_SHARE = 0.05
# Of the whole time.
SECOND_VERSION, KILL, RESTART, SETTLED = 0.5, 0.6, 2 / 3, 0.8
FORGET = 0.05
TIMEOUT_S = 120.0


class Endpoint:
    """A server process, started again after a kill on the same ports.

    Attributes:
      address: where clients dial; `direct`: the server itself.
    """

    def __init__(self, models: Path, log: Path, forget_s: float | None = None):
        """`forget_s`: clients reach it through a middleman that forgets connections."""
        self.models, self.log = models, log
        self.port, self.rest = free_port(), free_port()
        self.address = self.direct = f"127.0.0.1:{self.port}"
        self._proxy = None
        if forget_s:
            port = free_port()
            self.address = f"127.0.0.1:{port}"
            self._proxy = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("forgetful_proxy.py")), str(port),
                 str(self.port), "--age", str(forget_s)], stdout=subprocess.PIPE, text=True)
        self.memory: list[tuple[float, float]] = []
        self.counts = Counter()
        self.start()

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "crater_model.cli", "serve", str(self.models),
                 "--grpc-port", str(self.port), "--rest-port", str(self.rest)],
                stderr=log, stdout=log, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def kill(self) -> None:
        self.note_counts()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def note_counts(self) -> None:
        """Adds the process's own counts of requests by status; once for each process."""
        self.counts.update(answers_of(self.rest))

    def note_memory(self, at: float) -> None:
        try:
            text = Path(f"/proc/{self.process.pid}/status").read_text()
            self.memory.append((at, int(text.split("VmRSS:")[1].split()[0]) / 1024))
        except (OSError, IndexError):
            pass  # just killed

    def forgotten(self) -> int:
        """Ends the middleman; gives how many connections it has forgotten."""
        if self._proxy is None:
            return 0
        self._proxy.terminate()
        return len(self._proxy.communicate()[0].splitlines())

    def stop(self) -> int:
        self.note_counts()
        self.process.terminate()
        return self.process.wait(60)


class Load:
    """The tiles asked for and what came back."""

    def __init__(self, expected: Expected, client, seconds: float):
        self.expected, self.client, self.seconds = expected, client, seconds
        self.started = time.monotonic()
        self.asked = self.answered = 0
        self.wrong: list[str] = []
        self.lost: list[str] = []
        self.versions = Counter()
        self.second_from = self.first_until = None
        self.latencies: list[float] = []

    @property
    def share(self) -> float:
        """Share of the time that has passed."""
        return (time.monotonic() - self.started) / self.seconds

    async def ask_on(self, rng: random.Random) -> None:
        """One tile after another, until the time is over."""
        while self.share < 1.0:
            number = rng.randrange(len(self.expected.tiles))
            self.asked += 1
            began = time.monotonic()
            try:
                found = (await self.client.detect([self.expected.tiles[number]]))[0]
            except Exception as error:  # whatever it is, the tile is lost
                self.lost.append(f"{self.share:.3f}: {type(error).__name__}: {error}")
                continue
            self.latencies.append(time.monotonic() - began)
            self.answered += 1
            self._judge(number, found, began)

    def _judge(self, number: int, found, began: float) -> None:
        versions = self.expected.versions_of(number, found)
        self.versions["or".join(map(str, sorted(versions)))] += 1
        ended = time.monotonic()
        if not versions:
            self.wrong.append(f"{self.share:.3f}: tile {number} is what no version gives")
        elif versions == {2} and (self.second_from is None or ended < self.second_from):
            self.wrong.append(f"{self.share:.3f}: version 2 before it was there")
        elif versions == {1} and self.first_until is not None and began > self.first_until:
            self.wrong.append(f"{self.share:.3f}: version 1 after both had version 2")


async def events(load: Load, endpoints: list[Endpoint], folder: Path) -> None:
    """What happens to the servers, each at its share of the time."""
    async def at(share: float) -> None:
        await asyncio.sleep(max(0.0, share - load.share) * load.seconds)

    await at(SECOND_VERSION)
    load.second_from = time.monotonic()
    (folder / "second" / "2").rename(folder / "served" / "2")
    say("the second version is in the folder")
    for endpoint in endpoints:
        await asyncio.to_thread(wait_version, endpoint, 2)
    load.first_until = time.monotonic() + 1.0
    say("both serve it")
    await at(KILL)
    await asyncio.to_thread(endpoints[1].kill)
    say("one endpoint is killed")
    await at(RESTART)
    endpoints[1].start()
    await asyncio.to_thread(wait_version, endpoints[1], 2)
    say("it is back")


def wait_version(endpoint: Endpoint, version: int, seconds: float = 120.0) -> None:
    """Until the endpoint has this version available."""
    from crater_model.errors import CraterError
    from crater_model.serving.client import Client

    deadline = time.monotonic() + seconds
    with Client(endpoint.direct, timeout_s=5) as client:
        while time.monotonic() < deadline:
            try:
                if client.metadata()["version"] == version:
                    return
            except CraterError:
                pass  # it is starting
            time.sleep(0.25)
    raise SystemExit(f"{endpoint.address}: does not serve version {version} after {seconds:g} s; "
                     f"see {endpoint.log}")


async def watch(load: Load, endpoints: list[Endpoint]) -> None:
    """Memory every second and a line of progress every half minute."""
    told = time.monotonic()
    while load.share < 1.0:
        for endpoint in endpoints:
            endpoint.note_memory(load.share)
        if time.monotonic() - told > 30:
            told = time.monotonic()
            say(f"  {load.share:.0%}: {load.answered} tiles, {len(load.wrong)} wrong, "
                f"{len(load.lost)} lost, memory {[round(e.memory[-1][1]) for e in endpoints]} MB")
        await asyncio.sleep(1.0)


async def hostile(load: Load, hostile: Hostile, endpoints: list[Endpoint]) -> None:
    """Hostile requests, one for every nineteen tiles asked for."""
    sent = 0
    while load.share < 1.0:
        if sent > load.asked * HOSTILE_SHARE / (1 - HOSTILE_SHARE):
            await asyncio.sleep(0.05)
            continue
        await hostile.ask(endpoints[sent % 2].direct)
        sent += 1


async def run(folder: Path, seconds: float, flight: int) -> dict:
    """The load and everything beside it."""
    from crater_model.serving import AsyncClient

    endpoints = [Endpoint(folder / "served", folder / f"server-{n}.log", forget_s)
                 for n, forget_s in enumerate((FORGET * seconds, None))]
    try:
        for endpoint in endpoints:
            await asyncio.to_thread(wait_version, endpoint, 1)
        bad = Hostile()
        async with AsyncClient(",".join(e.address for e in endpoints), timeout_s=TIMEOUT_S,
                               max_batch=1, concurrency=flight) as client:
            load = Load(Expected(folder / EXPECTED), client, seconds)
            await asyncio.gather(
                events(load, endpoints, folder), watch(load, endpoints),
                hostile(load, bad, endpoints),
                *(load.ask_on(random.Random(number)) for number in range(client.in_flight)))
    finally:
        forgotten = endpoints[0].forgotten()
        codes = [endpoint.stop() for endpoint in endpoints if endpoint.process.poll() is None]
    return summary(load, bad, endpoints, codes, forgotten)


def summary(load: Load, bad: Hostile, endpoints: list[Endpoint], codes: list[int],
            forgotten: int) -> dict:
    """The figures, and whether they are as wanted."""
    counts = sum((endpoint.counts for endpoint in endpoints), Counter())
    found = {
        "seconds": load.seconds, "tiles_at_once": load.client.in_flight, "tiles_asked": load.asked, "tiles_answered": load.answered,
        "tiles_per_second": round(load.answered / load.seconds, 2), "versions": dict(load.versions),
        "latency_s": {"p50": round(statistics.median(load.latencies), 2),
                      "p99": round(sorted(load.latencies)[int(0.99 * len(load.latencies))], 2)},
        "requests_by_status": dict(counts),
        "hostile": bad.summary(), "wrong": load.wrong[:20], "wrong_count": len(load.wrong),
        "lost": load.lost[:20], "lost_count": len(load.lost), "exit_codes": codes,
        "forgotten_connections": forgotten,
        "memory": [growth(endpoint.memory) for endpoint in endpoints]}
    found["as_wanted"] = (
        not load.wrong and not load.lost and load.asked == load.answered and not bad.unexpected
        and codes == [0, 0] and forgotten > 0
        and all(m["growth"] < 0.05 for m in found["memory"]))
    return found


def growth(memory: list[tuple[float, float]]) -> dict:
    """MB after everything has happened and at the end, and the share that they differ by."""
    def mean(low: float, high: float) -> float:
        return statistics.mean(mb for share, mb in memory if low <= share < high)

    before, after = mean(SETTLED, SETTLED + 0.1), mean(0.9, 1.01)
    return {"settled_mb": round(before), "end_mb": round(after),
            "most_mb": round(max(mb for _, mb in memory)),
            "growth": round(after / before - 1.0, 4)}


def flight() -> int:
    """Tiles on the way for each endpoint: twice what a server holds, waiting and running."""
    from crater_model.serving.settings import Batching

    settings = Batching()
    return 2 * (settings.max_queued + settings.num_batch_threads * settings.max_batch_size)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a new folder")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--model", help="a finished model directory, instead of a short training")
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        main_child(options.child, TASKS)
        return
    if not options.out:
        parser.error("--out is needed")
    out = options.out.resolve()
    made = kept(out / "prepare.json", functools.partial(in_child, __file__, "prepare"),
                folder=str(out), model=options.model)
    if "failed" in made:
        raise SystemExit(f"prepare: {made['failed']}")
    if not (out / "second" / "2").exists():  # of an earlier run
        shutil.move(out / "served" / "2", out / "second" / "2")
    minutes = options.minutes or (1.0 if options.quick else 10.0)
    found = asyncio.run(run(out, 60.0 * minutes, flight()))
    print_json({"machine": machine(), "model": made, **found})
    (out / "result.json").write_text(json.dumps(found, indent=2))
    sys.exit(0 if found["as_wanted"] else 1)


if __name__ == "__main__":
    main()
