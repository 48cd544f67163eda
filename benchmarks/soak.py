"""Two servers under more load than they can take, while everything happens to them.

Two processes of `crater serve` hold the same folder of versions, and `AsyncClient` asks both for tiles
all the time, so many at once that the servers can hold half of them, waiting and running, and refuse
the others (UNAVAILABLE: the queue is full), which are asked again. Beside them come hostile requests,
one in twenty. The first endpoint is reached through `forgetful_proxy`, which forgets each connection after a
twentieth of the time without a word, as load balancers do; what was on the way is found lost after
half of a try's time, and asked again. At half of the time a second version of the model (the same
with another score threshold) appears in the folder; at six tenths the other endpoint is killed
(SIGKILL), at two thirds it is started again.

Every answer is compared with what one of the two versions gives in a process of its own, the second
one not before it is there and the first one not once both endpoints have the second. Memory is each
server process's resident size; `growth` is what its last tenth is above the tenth from eight tenths
of the time on, when everything has happened. Exits 1 where something is not `as_wanted`.

The model is that of `--model` or a short training of the preset `demo`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.harness import ROOT, crater, fill, free_port, resident_mb, say
from benchmarks.serving_sides import trained
from benchmarks.soak_sides import EXPECTED, Expected, answers, answers_of

FULL = {"minutes": 10.0, "model": ""}
QUICK = {"minutes": 1.0}
HOSTILE_SHARE = 0.05
# Of the whole time.
SECOND_VERSION, KILL, RESTART, SETTLED = 0.5, 0.6, 2 / 3, 0.8
FORGET = 0.05
PROXY = ROOT / "tests" / "serving" / "forgetful_proxy.py"
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
        self.memory: list[tuple[float, float]] = []
        self.counts: Counter = Counter()
        self._proxy = None
        if forget_s:
            self.address = f"127.0.0.1:{(port := free_port())}"
            self._proxy = subprocess.Popen(
                [sys.executable, PROXY, str(port), str(self.port), "--age", str(forget_s)],
                stdout=subprocess.PIPE, text=True)
        self.start()

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                crater("serve", self.models, grpc_port=self.port, rest_port=self.rest),
                stderr=log, stdout=log, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def kill(self) -> None:
        self.counts.update(answers_of(self.rest))
        self.process.kill()
        self.process.wait()

    def note_memory(self, at: float) -> None:
        with contextlib.suppress(OSError, IndexError):  # just killed
            self.memory.append((at, resident_mb(self.process.pid)))

    def forgotten(self) -> int:
        """Ends the middleman; gives how many connections it has forgotten."""
        if self._proxy is None:
            return 0
        self._proxy.terminate()
        return len(self._proxy.communicate()[0].splitlines())

    def stop(self) -> int:
        self.counts.update(answers_of(self.rest))
        self.process.terminate()
        return self.process.wait(60)

    def wait_version(self, version: int, seconds: float = 120.0) -> None:
        """Until this version is available."""
        from crater_model.errors import CraterError
        from crater_model.serving.client import Client

        deadline = time.monotonic() + seconds
        with Client(self.direct, timeout_s=5) as client:
            while time.monotonic() < deadline:
                try:
                    if client.metadata()["version"] == version:
                        return
                except CraterError:
                    pass  # it is starting
                time.sleep(0.25)
        raise SystemExit(f"{self.direct}: does not serve version {version} after {seconds:g} s; "
                         f"see {self.log}")


class Load:
    """The tiles asked for and what came back."""

    def __init__(self, expected: Expected, client, seconds: float):
        self.expected, self.client, self.seconds = expected, client, seconds
        self.started = time.monotonic()
        self.asked = 0
        self.wrong: list[str] = []
        self.lost: list[str] = []
        self.versions: Counter = Counter()
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
            self._judge(number, found, began)

    def _judge(self, number: int, found, began: float) -> None:
        versions = self.expected.versions_of(number, found)
        self.versions["or".join(map(str, sorted(versions)))] += 1
        if not versions:
            self.wrong.append(f"{self.share:.3f}: tile {number} is what no version gives")
        elif versions == {2} and (self.second_from is None or time.monotonic() < self.second_from):
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
        await asyncio.to_thread(endpoint.wait_version, 2)
    load.first_until = time.monotonic() + 1.0
    say("both serve it")
    await at(KILL)
    await asyncio.to_thread(endpoints[1].kill)
    say("one endpoint is killed")
    await at(RESTART)
    endpoints[1].start()
    await asyncio.to_thread(endpoints[1].wait_version, 2)
    say("it is back")


async def watch(load: Load, endpoints: list[Endpoint]) -> None:
    """Memory every second and a line of progress every half minute."""
    told = time.monotonic()
    while load.share < 1.0:
        for endpoint in endpoints:
            endpoint.note_memory(load.share)
        if time.monotonic() - told > 30:
            told = time.monotonic()
            say(f"  {load.share:.0%}: {len(load.latencies)} tiles, {len(load.wrong)} wrong, "
                f"{len(load.lost)} lost, memory {[e.memory[-1][1] for e in endpoints]} MB")
        await asyncio.sleep(1.0)


async def attack(load: Load, hostile, endpoints: list[Endpoint]) -> None:
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
    from tests.serving.hostile import Hostile

    endpoints = [Endpoint(folder / "served", folder / f"server-{n}.log", forget_s)
                 for n, forget_s in enumerate((FORGET * seconds, None))]
    try:
        for endpoint in endpoints:
            await asyncio.to_thread(endpoint.wait_version, 1)
        hostile = Hostile()
        async with AsyncClient(",".join(e.address for e in endpoints), timeout_s=TIMEOUT_S,
                               max_batch=1, concurrency=flight) as client:
            load = Load(Expected(folder / EXPECTED), client, seconds)
            await asyncio.gather(
                events(load, endpoints, folder), watch(load, endpoints),
                attack(load, hostile, endpoints),
                *(load.ask_on(random.Random(number)) for number in range(client.in_flight)))
    finally:
        forgotten = endpoints[0].forgotten()
        codes = [endpoint.stop() for endpoint in endpoints if endpoint.process.poll() is None]
    return summary(load, hostile, endpoints, codes, forgotten)


def summary(load: Load, hostile, endpoints: list[Endpoint], codes: list[int],
            forgotten: int) -> dict:
    """The figures, and whether they are as wanted."""
    answered, latencies = len(load.latencies), sorted(load.latencies)
    memory = [growth(endpoint.memory) for endpoint in endpoints]
    counts = sum((endpoint.counts for endpoint in endpoints), Counter())
    return {
        "seconds": load.seconds, "tiles_at_once": load.client.in_flight, "tiles_asked": load.asked,
        "tiles_answered": answered, "tiles_per_second": round(answered / load.seconds, 2),
        "versions": dict(load.versions),
        "latency_s": {"p50": round(statistics.median(latencies), 2),
                      "p99": round(latencies[int(0.99 * answered)], 2)},
        "requests_by_status": dict(counts),
        "refused": counts["UNAVAILABLE"] + counts["RESOURCE_EXHAUSTED"],
        "hostile": hostile.summary(), "wrong": load.wrong[:20], "wrong_count": len(load.wrong),
        "lost": load.lost[:20], "lost_count": len(load.lost), "exit_codes": codes,
        "forgotten_connections": forgotten, "memory": memory,
        "as_wanted": not (load.wrong or load.lost or hostile.unexpected) and codes == [0, 0]
        and load.asked == answered and forgotten > 0 and all(m["growth"] < 0.05 for m in memory)}


def growth(memory: list[tuple[float, float]]) -> dict:
    """MB after everything has happened and at the end, and the share that they differ by."""
    def mean(low: float, high: float) -> float:
        return statistics.mean(mb for share, mb in memory if low <= share < high)

    before, after = mean(SETTLED, SETTLED + 0.1), mean(0.9, 1.01)
    return {"settled_mb": round(before), "end_mb": round(after),
            "most_mb": round(max(mb for _, mb in memory)), "growth": round(after / before - 1.0, 4)}


def flight() -> int:
    """Tiles on the way for each endpoint: twice what a server holds, waiting and running."""
    from crater_model.serving.settings import Batching

    settings = Batching()
    return 2 * (settings.max_queued + settings.num_batch_threads * settings.max_batch_size)


def measure(bench, minutes: float, model: str) -> dict:
    out = bench.folder
    model, versions = trained(bench, model, "256x192", 5, 200), {}
    for number, name, threshold in ((1, "served", 0.05), (2, "second", 0.3)):
        versions[number] = bench.crater(f"version-{number}", "export", model, out / name,
                                        model_version=number, score_threshold=threshold)["saved_model"]
    made = bench.child("answers", answers, folder=out, versions=versions)
    if not (out / "second" / "2").exists():  # of an earlier run
        shutil.move(out / "served" / "2", out / "second" / "2")
    return {"model": made, **asyncio.run(run(out, 60.0 * minutes, flight()))}


def table(found: dict) -> str:
    return fill("""
        | | {settings.minutes:g} minutes, {tiles_at_once} tiles at once |
        |---|---|
        | tiles answered, wrong, lost | {tiles_answered:,}, {wrong_count}, {lost_count} |
        | tiles a second | {tiles_per_second} |
        | p50 and p99, s | {latency_s.p50:.1f}, {latency_s.p99:.1f} |
        | hostile requests, not refused as they should be | {hostile.sent:,}, {hostile.unexpected_count} |
        | requests refused for want of room | {refused} |
        | memory of the two servers at the end | {memory.0.growth:+.1%}, {memory.1.growth:+.1%} |""",
        found)
