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
from collections.abc import Sequence

from crater_model import __version__
from crater_model.commands import data, model, serving
from crater_model.commands.options import group, plain, warn
from crater_model.errors import CraterError, DataProblems


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    # TensorFlow talks to stderr before anything can silence it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    options = build_parser().parse_args(arguments)
    try:
        values = options.run(options)
    except DataProblems as error:
        warn([], error.problems)
        print(f"crater: {len(error.problems)} problem(s); {error.fix}", file=sys.stderr)
        return 1
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
        print("\n".join(f"{name}: {plain(value)}" for name, value in values.items()))
    return 1 if failed else 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; imports nothing heavy."""
    parser = argparse.ArgumentParser(prog="crater", description=__doc__.split("\n")[0])
    parser.add_argument("--version", action="version", version=f"crater {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data.synthesize(commands)
    data.dataset(group(commands, "dataset", "read, check and cut labelled images"))
    data.records(group(commands, "records", "TFRecords"))
    model.train(commands)
    model.evaluate(commands)
    model.export(commands)
    serving.image(group(commands, "image", "the serving image"))
    serving.serve(commands)
    serving.detect(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
