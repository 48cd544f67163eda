"""What a tile costs on its way: bytes, latency and throughput, beside the old system's JSON.

`crater_model.serving` runs in a process of its own on loopback.

- `wire`: the bytes of one tile of 256 x 256 px, counted by a proxy between client and server with
  everything that gRPC, HTTP and TCP streams add, and the latency of one tile after another, for
  each number of `--craters`. The models behind it compute nothing: they give masks that the trained
  model gave, as many as wanted, so that what is timed is the way. The sides: `grpc` (PNG out,
  tensors back), `grpc_gzip` (the same with answers in gzip), `rest` (the same model through JSON) and
  the peer `old`: the pipeline that this project replaces, which sent the pixels as JSON numbers and
  got 500 boxes and 500 float masks of 33 x 33 back, whatever there was (OD API,
  `max_total_detections` 500: the places that are not used hold masks too). Our server writes floats
  as short as float32 allows; TF Serving, which the old system ran, writes more of them, and `bytes`
  are as it does (`bytes_as_sent` are what passed the proxy).
- `overhead`: the trained model asked in this process and through the server, in turn.
- `throughput`: tiles a second with 1, 8 and 32 of them on the way.

The model is that of `--model` or a training of the preset `demo` of `--steps` (scores do not matter).
"""

from __future__ import annotations

from benchmarks.harness import fill, grid, ratio
from benchmarks.serving_sides import overhead, prepare, throughput, trained, wire

FULL = {"model": "", "craters": (100, 500), "steps": 200, "repeats": 200, "tiles": 400}
QUICK = {"steps": 20, "repeats": 10, "tiles": 32}
SIDES = {"grpc": "gRPC", "grpc_gzip": "gRPC, answers in gzip", "rest": "REST", "old": "old"}


def measure(bench, model: str, craters, steps: int, repeats: int, tiles: int) -> dict:
    folder = bench.folder
    model = trained(bench, model, "256x256", 3, steps,
                    **{"task.model.detection_generator.pre_nms_score_threshold": 0.001})
    bench.crater("exported", "export", model, folder / "models" / "crater", model_version=1)
    made = bench.child("prepare", prepare, folder=folder, model=model, craters=craters)
    found = bench.child("wire", wire, folder=folder, craters=craters, repeats=repeats)
    for sides in (found[str(count)] for count in craters):
        for side in ("grpc", "grpc_gzip", "rest"):
            sides[side]["old_bytes_times"] = ratio(sides["old"]["bytes"], sides[side]["bytes"])
            sides[side]["old_p50_times"] = ratio(sides["old"]["p50_ms"], sides[side]["p50_ms"])
    return {"model": made, "wire": found,
            "overhead": bench.child("overhead", overhead, folder=folder, repeats=repeats),
            "throughput": bench.child("throughput", throughput, folder=folder, tiles=tiles)}


def table(found: dict) -> str:
    wire = grid({"craters": "{craters}", "": "{side}", "bytes": "{bytes:,}",
                 "old / this": "{old_bytes_times}", "p50, ms": "{p50_ms}", "p99, ms": "{p99_ms}"},
                [{"craters": craters, "side": name, **found["wire"][str(craters)][side]}
                 for craters in found["settings"]["craters"] for side, name in SIDES.items()])
    return wire + "\n\n" + fill("""
        | the preset `demo`'s model, one tile | p50, ms |
        |---|---|
        | in this process | {overhead.bare.p50_ms:.1f} |
        | through the server | {overhead.grpc.p50_ms:.1f} |
        | more | {overhead.overhead_p50_ms:.1f} |

        | tiles on the way | 1 | 8 | 32 |
        |---|---|---|---|
        | tiles a second | {throughput.1.tiles_per_second} | {throughput.8.tiles_per_second} | {throughput.32.tiles_per_second} |
        """, found)
