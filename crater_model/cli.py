"""`crater`: the whole way from labelled images to outlines, one command a step.

Progress goes to stderr. With `--json` one JSON object goes to stdout; without it, a short
text for people. Exit status: 0 on success, 1 with one clear line on failure, 2 on wrong
usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crater_model import __version__
from crater_model.errors import CraterError

Values = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    # TensorFlow talks to stderr before anything can silence it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = _parser().parse_args(arguments)
    try:
        values = options.run(options)
    except CraterError as error:
        print(f"crater: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("crater: interrupted", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"crater: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 1
    failed = bool(values.pop("_failed", False))
    text = values.pop("_text", None)
    if options.json:
        print(json.dumps(values, allow_nan=False, default=str))
    elif text is not None:
        print(text)
    else:
        print("\n".join(f"{name}: {_plain(value)}" for name, value in values.items()))
    return 1 if failed else 0


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="crater", description=__doc__.split("\n")[0])
    parser.add_argument("--version", action="version", version=f"crater {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _synthesize(commands)
    _dataset(_group(commands, "dataset", "read, check and cut labelled images"))
    _records(_group(commands, "records", "TFRecords"))
    _train(commands)
    _evaluate(commands)
    _export(commands)
    _image(_group(commands, "image", "the serving image"))
    _serve(commands)
    _detect(commands)
    return parser


def _group(commands, name: str, text: str):
    return commands.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")


def _command(commands, name: str, text: str, run: Callable[[argparse.Namespace], Values]):
    command = commands.add_parser(name, help=text, description=text,
                                  formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.set_defaults(run=run)
    return command


# --- data ---------------------------------------------------------------------------------


def _synthesize(commands) -> None:
    def run(options) -> Values:
        from crater_model.synthesis import synthesize

        return synthesize(options.directory, scenes=options.scenes, size=options.size,
                          seed=options.seed, empty_share=options.empty_share,
                          count=options.count)

    command = _command(commands, "synthesize", "render labelled terrain", run)
    command.add_argument("directory", metavar="DIR")
    command.add_argument("--scenes", type=_whole, default=400)
    command.add_argument("--size", type=_size, default=(256, 256), metavar="WxH")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--empty-share", type=float, default=0.05,
                         help="share of scenes without a crater")
    command.add_argument("--count", type=_whole, default=None, help="craters in each scene")


def _dataset(commands) -> None:
    def check(options) -> Values:
        from dataclasses import asdict

        from crater_model.annotations.validate import check_dataset

        report = check_dataset(options.directory)
        if options.report:
            from crater_model.annotations.report import write_html

            write_html(report, options.directory, options.report)
        for warning in report.warnings:
            print(f"crater: warning: {warning}", file=sys.stderr)
        for problem in report.problems:
            print(f"crater: {problem}", file=sys.stderr)
        text = "\n".join(f"{k}: {_plain(v)}" for k, v in report.statistics.items())
        return {**asdict(report), "_failed": not report.ok, "_text": text}

    def chips(options) -> Values:
        from crater_model.annotations.chips import cut_chips

        return cut_chips(options.directory, options.out, options.size, scales=options.scales,
                         overlap=options.overlap, min_visible=options.min_visible,
                         min_diameter=options.min_diameter).to_dict()

    command = _command(commands, "check", "validate a data set and describe it", check)
    command.add_argument("directory", metavar="DIR")
    command.add_argument("--report", metavar="FILE.html", help="one self-contained page")
    command = _command(commands, "chips", "cut scenes into chips", chips)
    command.add_argument("directory", metavar="DIR")
    command.add_argument("out", metavar="OUT")
    command.add_argument("--size", type=_whole, required=True, metavar="PX")
    command.add_argument("--scales", type=_scales, default="auto", metavar="S[,S...]",
                         help="chip px per scene px, or auto")
    command.add_argument("--overlap", type=float, default=0.25)
    command.add_argument("--min-visible", type=float, default=0.5)
    command.add_argument("--min-diameter", type=float, default=4.0, metavar="PX")


def _records(commands) -> None:
    def write(options) -> Values:
        from crater_model.records.show import summarize
        from crater_model.records.write import write_records

        write_records(options.dataset, options.out, splits=options.splits,
                      shards=options.shards, full_masks=options.full_masks, seed=options.seed)
        return summarize(options.out)

    def show(options) -> Values:
        from crater_model.files import write_bytes
        from crater_model.records.show import records_picture, summarize

        values = summarize(options.out)
        if options.picture:
            write_bytes(options.picture, records_picture(options.out, options.split,
                                                         max_bytes=None))
        return values

    command = _command(commands, "write", "write a data set as TFRecords", write)
    command.add_argument("dataset", metavar="DATASET")
    command.add_argument("out", metavar="OUT")
    command.add_argument("--shards", type=_whole, default=None, help="files a split")
    command.add_argument("--splits", type=_splits, default=(0.7, 0.15, 0.15), metavar="A,B,C",
                         help="shares of train, validation and test")
    command.add_argument("--full-masks", action="store_true",
                         help="add full-image PNG masks for other programs")
    command.add_argument("--seed", type=int, default=0)
    command = _command(commands, "show", "look inside records", show)
    command.add_argument("out", metavar="OUT")
    command.add_argument("--picture", metavar="FILE.png")
    command.add_argument("--split", default="train")


# --- model --------------------------------------------------------------------------------


def _train(commands) -> None:
    def run(options) -> Values:
        from crater_model.training import train

        result = train(options.records, options.model_dir, options.experiment,
                       dict(options.set or []), train_steps=options.train_steps,
                       sample_1_of_n_eval_examples=options.sample_1_of_n_eval_examples,
                       eval_checkpoint_metric=options.eval_checkpoint_metric,
                       metric_objective_type=options.metric_objective_type)
        metric = result["metric"]
        score = "no score" if metric["value"] is None else f"{metric['value']:.4f}"
        return {**result, "_text": f"{metric['name']}: {score}\nbest checkpoint: "
                f"{Path(options.model_dir) / (result['best_checkpoint'] or '-')}\n"
                f"steps: {result['steps']}  seconds: {result['seconds']}"}

    command = _command(commands, "train", "train a detector, or go on training", run)
    command.add_argument("records", metavar="RECORDS")
    command.add_argument("--model-dir", required=True, metavar="DIR")
    command.add_argument("--experiment", default="demo", metavar="NAME|FILE.yaml")
    command.add_argument("--set", action="append", type=_setting, metavar="key=value",
                         help="override a value of the experiment; may be repeated")
    command.add_argument("--train-steps", type=_whole, default=None)
    command.add_argument("--sample-1-of-n-eval-examples", type=_whole, default=1)
    command.add_argument("--eval-checkpoint-metric", default="mask_AP")
    command.add_argument("--metric-objective-type", choices=("max", "min"), default="max")


def _evaluate(commands) -> None:
    def run(options) -> Values:
        from crater_model.evaluation import evaluate

        return evaluate(options.model, options.dataset, scales=options.scales,
                        scenes=_scenes_of(options), output=options.output)

    command = _command(commands, "evaluate", "score a detector on whole scenes", run)
    command.add_argument("model", metavar="MODEL", help="a model directory or a SavedModel")
    command.add_argument("dataset", metavar="DATASET")
    command.add_argument("--output", metavar="DIR", help="for metrics.json and pictures")
    command.add_argument("--scales", type=_scales, default=None, metavar="S[,S...]")
    command.add_argument("--records", metavar="RECORDS",
                         help="score only the scenes of one split of these records")
    command.add_argument("--split", default="test", help="which split of --records")


def _scenes_of(options) -> list[str] | None:
    if options.records is None:
        return None
    from crater_model.records.manifest import read_manifest

    return read_manifest(options.records).split(options.split)["scenes"]


def _export(commands) -> None:
    def run(options) -> Values:
        from crater_model.export import export_saved_model

        path = export_saved_model(options.model_dir, options.out, options.model_version)
        return {"saved_model": str(path), "version": int(path.name)}

    command = _command(commands, "export", "write a SavedModel version for TF Serving", run)
    command.add_argument("model_dir", metavar="MODEL_DIR")
    command.add_argument("out", metavar="OUT")
    command.add_argument("--model-version", type=_whole, default=None)


# --- serving ------------------------------------------------------------------------------


def _image(commands) -> None:
    def build(options) -> Values:
        from crater_model.serving.image import build_image

        result = build_image(options.saved_model, options.tag, engine=options.engine,
                             base=options.base, gpu=options.gpu, push=options.push)
        return result.to_dict()

    command = _command(commands, "build", "build the TF Serving image", build)
    command.add_argument("saved_model", metavar="SAVED_MODEL")
    command.add_argument("--tag", required=True, metavar="NAME")
    command.add_argument("--engine", choices=("auto", "docker", "buildah"), default="auto")
    command.add_argument("--base", default=None, metavar="IMAGE")
    command.add_argument("--gpu", action="store_true")
    command.add_argument("--push", action="store_true")


def _serve(commands) -> None:
    def run(options) -> Values:
        from crater_model.serving.server import serve

        serve(options.saved_model, grpc_port=options.grpc_port, rest_port=options.rest_port,
              host=options.host)
        return {"_text": "stopped"}

    command = _command(commands, "serve", "a local server with TF Serving's API", run)
    command.add_argument("saved_model", metavar="SAVED_MODEL")
    command.add_argument("--grpc-port", type=int, default=8500)
    command.add_argument("--rest-port", type=int, default=8501)
    command.add_argument("--host", default="127.0.0.1")


def _detect(commands) -> None:
    def run(options) -> Values:
        from crater_model.mapping.detect import detect_files

        return detect_files(options.images, options.output, server=options.server,
                            model=options.model, tile=options.tile, scales=options.scales,
                            threshold=options.threshold)

    command = _command(commands, "detect", "outline what is in images", run)
    command.add_argument("images", nargs="+", metavar="IMAGE")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--server", metavar="HOST:PORT[,...]")
    source.add_argument("--model", metavar="DIR", help="a model directory or a SavedModel")
    command.add_argument("--output", required=True, metavar="FILE",
                         help="the suffix decides: .geojson .csv .json (COCO results) .png")
    command.add_argument("--tile", type=_whole, default=None, metavar="PX",
                         help="side of the network's input; the model's own by default")
    command.add_argument("--scales", type=_scales, default=None, metavar="S[,S...]",
                         help="network px per image px; the model's own by default")
    command.add_argument("--threshold", type=float, default=0.5, help="lowest score kept")


# --- values -------------------------------------------------------------------------------


def _whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1")
    return value


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not width.isdigit() or not height.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: expected WIDTHxHEIGHT in px, such as 256x256")
    return int(width), int(height)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected numbers with commas") from None


def _scales(text: str) -> list[float] | str:
    return "auto" if text == "auto" else _numbers(text)


def _splits(text: str) -> tuple[float, ...]:
    values = tuple(_numbers(text))
    if len(values) != 3:
        raise argparse.ArgumentTypeError(f"{text}: expected three shares, such as 0.7,0.15,0.15")
    return values


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text}: expected key=value")
    return key, value


if __name__ == "__main__":
    sys.exit(main())
