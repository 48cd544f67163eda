"""What a tile costs on its way: bytes, latency and throughput, beside the old system's JSON.

    python benchmarks/serving.py --out DIR [--model MODEL_DIR] [--quick]

Prints one JSON object. `crater_model.serving` runs in a process of its own on loopback.

- `wire`: the bytes of one tile of 256 x 256 px, counted by a proxy between client and server with
  everything that gRPC, HTTP and TCP streams add, and the latency of one tile after another, for
  100 and for 500 craters. The models behind it compute nothing: they give masks that the trained
  model gave, as many as wanted, so that what is timed is the way. The sides: `grpc` (PNG out,
  tensors back), `grpc_gzip` (the same with answers in gzip), `rest` (the same model through JSON) and
  the peer `old`: the pipeline that this project replaces, which sent the pixels as JSON numbers and
  got 500 boxes and 500 float masks of 33 x 33 back, whatever there was (OD API,
  `max_total_detections` 500: the places that are not used hold masks too). Our server writes floats
  as short as float32 allows; TF Serving, which the old system ran, writes more of them:
  `bytes_as_tf_serving_writes`, which the ratios are taken of.
- `overhead`: the trained model asked in this process and through the server, in turn.
- `throughput`: tiles a second with 1, 8 and 32 of them on the way.

The model is that of `--model` or a short training of the preset `demo` (scores do not matter
here). What is finished is kept in DIR and not repeated.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

from common import in_child, kept, machine, main_child, print_json, ratio, say
from serving_sides import TASKS

CRATERS = (100, 500)


def measure(out: Path, model: str | None, quick: bool) -> dict:
    """All of it, each part in a process of its own."""
    def child(name: str, **arguments) -> dict:
        say(f"{name} ...")
        found = kept(out / f"{name}.json", functools.partial(in_child, __file__, name),
                     folder=str(out), **arguments)
        if "failed" in found:
            raise SystemExit(f"{name}: {found['failed']}")
        say(f"  {found}")
        return found

    made = child("prepare", model=model, craters=list(CRATERS), steps=20 if quick else 200)
    wire = child("wire", craters=list(CRATERS), repeats=10 if quick else 200)
    for craters in CRATERS:
        sides = wire[str(craters)]
        old = sides["old"]["bytes_as_tf_serving_writes"]
        for side in ("grpc", "grpc_gzip"):
            sides[f"old_bytes_times_{side}"] = ratio(old, sides[side]["bytes"])
            sides[f"old_p50_times_{side}"] = ratio(sides["old"]["p50_ms"], sides[side]["p50_ms"])
    return {"machine": machine(), "model": made, "wire": wire,
            "overhead": child("overhead", repeats=10 if quick else 200),
            "throughput": child("throughput", tiles=32 if quick else 400)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="keeps what is finished")
    parser.add_argument("--model", help="a finished model directory, instead of a short training")
    parser.add_argument("--quick", action="store_true", help="a few tiles, a few steps")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        main_child(options.child, TASKS)
        return
    if not options.out:
        parser.error("--out is needed")
    print_json(measure(options.out.resolve(), options.model, options.quick))


if __name__ == "__main__":
    main()
