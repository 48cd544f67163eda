"""Measures: `python -m benchmarks NAME [--quick] [--json] [--output FILE] [--work DIR]`.

`python -m benchmarks NAME --help` says what NAME measures and against what, and its flags. It prints
a table and its progress on stderr. `python -m benchmarks tables` writes the READMEs' tables from
`benchmarks/results`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import tables
from benchmarks.harness import Bench, pretty, run_child, taken

NAMES = ("anchor_targets", "chips", "evaluation", "input_pipeline", "kill_and_resume", "mapping",
         "mapping_model", "records", "serving", "soak", "synthesize", "training", "yolo")


def flag(parser: argparse.ArgumentParser, name: str, value, quick) -> None:
    """The flag of one setting, which says its values."""
    option = {"default": argparse.SUPPRESS, "help": f"by default {value}; quick: {quick}"}
    if isinstance(value, bool):
        option["action"] = argparse.BooleanOptionalAction
    elif isinstance(value, tuple):
        option["type"] = lambda text: tuple(map(type(value[0]), text.split(",")))
    else:
        option["type"] = type(value)
    parser.add_argument("--" + name.replace("_", "-"), **option)


def settings(module, arguments: list[str]) -> tuple[argparse.Namespace, dict]:
    """The common flags' values, and the benchmark's own settings."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks {module.__name__.rpartition('.')[2]}",
        description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="measure less")
    parser.add_argument("--json", action="store_true", help="JSON on stdout, not the table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the JSON here as well")
    parser.add_argument("--work", type=Path, metavar="DIR",
                        help="keep what is finished here, and go on from there")
    for name, value in module.FULL.items():
        flag(parser, name, value, module.QUICK.get(name, value))
    options = parser.parse_args(arguments)
    given = {k: v for k, v in vars(options).items() if k in module.FULL}
    return options, {**module.FULL, **(module.QUICK if options.quick else {}), **given}


def run(name: str, arguments: list[str]) -> int:
    """Measures, prints and writes; 1 where something is not as it has to be."""
    module = importlib.import_module(f"benchmarks.{name}")
    options, chosen = settings(module, arguments)
    result = {"benchmark": name, "taken": taken(), "settings": chosen}
    with tempfile.TemporaryDirectory() as folder:
        result.update(module.measure(Bench(options.work or Path(folder)), **chosen))
    result = json.loads(json.dumps(result))
    if options.output:
        options.output.write_text(pretty(result) + "\n")
    print(pretty(result) if options.json or not hasattr(module, "table")
          else tables.block(result))
    return 0 if result.get("as_wanted", True) else 1


def main(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if name == "--child":
        run_child(*rest)
        return 0
    if name == "tables":
        return tables.main(rest)
    if name in NAMES:
        return run(name, rest)
    print(__doc__ + "\nNAMEs:\n" + "".join(
        f"  {name:16} {importlib.import_module(f'benchmarks.{name}').__doc__.splitlines()[0]}\n"
        for name in NAMES))
    if name in ("-h", "--help"):
        return 0
    print(f"{name}: there is no such benchmark", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
