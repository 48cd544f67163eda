"""Writes the pages of docs/ that are made from the code: `make docs`.

A test compares the committed pages with what this makes.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
_NOTE = "<!-- Made by docs/generate.py from {source}; do not edit, run `make docs`. -->\n\n"


def command_line() -> str:
    """Every command of `crater` with its arguments, from the parser itself."""
    from crater_model.cli import build_parser

    parser = build_parser()
    commands = list(_commands(parser))
    lines = ["# Command line\n",
             "Progress goes to stderr. With `--json`, which every command takes, one JSON object "
             "goes to stdout; without it a short text for people. The exit status is 0 on "
             "success, 1 with one clear line on failure, 2 on wrong usage. `crater COMMAND "
             "--help` says what stands here.\n",
             _table(("command", ""), [
                 (f"[`{command.prog}`](#{command.prog.replace(' ', '-')})", _cell(about))
                 for command, about in commands])]
    for command, _ in commands:
        actions = [action for action in command._actions
                   if not isinstance(action, argparse._HelpAction) and action.dest != "json"]
        lines += [f"## {command.prog}\n", _sentence(command.description) + "\n",
                  f"```\n{_usage(command, actions)}\n```\n",
                  _table(("argument", "", "default"),
                         [(_argument(action), _cell(_help(action)), _default(action))
                          for action in actions])]
    return _NOTE.format(source="crater_model/commands") + "\n".join(lines)


def settings() -> str:
    """Every setting of an experiment with its type and values, from the presets themselves."""
    from crater_model.detector.experiment import load_experiment
    from crater_model.settings import PRESETS, schema

    kinds = schema()
    values = {name: _flat(load_experiment(name), kinds) for name in PRESETS}
    first, meanings = PRESETS[0], _meanings()
    changed = [key for key in kinds if any(values[name][key] != values[first][key]
                                           for name in PRESETS)]
    lines = [
        "# Settings of an experiment\n",
        "Any of these can be set: `crater train --set key=value`, in a YAML file that starts from "
        "a preset, or in a hyperparameter set ([training.md](training.md)). A name that does not "
        "exist, or a value of another type, is refused with the nearest valid one. A `?` after a "
        "type means that null is allowed. What has no meaning here is Model Garden's own; its "
        "configuration classes describe it.\n",
        "## What the presets change\n", f"Against `{first}`; all else is alike.\n",
        _table(("setting", *(f"`{name}`" for name in PRESETS)),
               [(f"`{key}`", *(_value(values[name][key]) for name in PRESETS))
                for key in changed])]
    for group, keys in _grouped(kinds).items():
        lines += [f"## {group}\n",
                  _table(("setting", "type", f"in `{first}`", ""),
                         [(f"`{key.removeprefix(group + '.')}`", _code(kinds[key]),
                           _value(values[first][key]), _cell(meanings.get(key, "")))
                          for key in keys])]
    return _NOTE.format(source="crater_model/settings.json and the presets") + "\n".join(lines)


def metadata() -> str:
    """What each asset takes as run configuration and carries as metadata; checks and observations
    too."""
    from crater_assets import metadata as described
    from crater_assets.assets.progress import training_progress
    from crater_assets.checks import CHECKS
    from crater_assets.reevaluation import scores_kept
    from crater_assets.watching import PROGRESS

    lines = ["# Run configuration and metadata of the assets\n",
             "What a run may set, and what an asset's page shows afterwards, in this order. "
             "Numbers are plotted over time by Dagster. A name with a `*` stands for several.\n"]
    for name, (asset, config) in _assets().items():
        about = " ".join((asset.descriptions_by_key[asset.key] or "").split("\n\n")[0].split())
        lines += [f"## {name}\n", about + "\n"]
        if config is not None:
            lines += ["Run configuration:\n", _table(("name", "type", "default", ""), [
                (f"`{key}`", _code(_annotation(field.annotation)), _value(field.default),
                 _cell(field.description or "")) for key, field in config.model_fields.items()])]
        lines += ["Metadata:\n", _entries(described.ASSETS[name])]
    lines += [f"## {PROGRESS}\n", _sentence(training_progress.description.split(". ")[0]) + "\n",
              "Metadata:\n", _entries(described.ASSETS[PROGRESS])]
    lines += ["## Checks\n", "Each check that fails lists its `problems`.\n"]
    abouts = {spec.name: spec.description for check in [*CHECKS, scores_kept]
              for spec in check.check_specs}
    for name, table in described.CHECKS.items():
        if name != described.PROBLEMS:
            lines += [f"### {name}\n", _sentence(" ".join(abouts[name].split("\n\n")[0].split()))
                      + "\n", *([_entries(table)] if table else [])]
    lines += ["## Observations\n", "While a training goes on, its asset's page gets these; and "
              "`annotated_images`, where the sensor `new_data` sees another data set.\n"]
    for name, table in described.OBSERVATIONS.items():
        lines += [f"### {name}\n", _entries(table)]
    return _NOTE.format(source="crater_assets/metadata.py") + "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "command-line.md": command_line, "settings.md": settings, "metadata.md": metadata}


def main() -> None:
    """Writes every page."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's greetings
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())


def _commands(parser: argparse.ArgumentParser, about: str = ""
              ) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """The parsers that run something, with what the list of commands says of each."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield parser, about
    for group in groups:
        abouts = {choice.dest: choice.help or "" for choice in group._choices_actions}
        for name, command in group.choices.items():
            yield from _commands(command, abouts[name])


def _usage(command: argparse.ArgumentParser, actions: Iterable[argparse.Action]) -> str:
    """One line; options that may be left out in brackets, those without a choice first."""
    alternatives = {action: group for group in command._mutually_exclusive_groups
                    if group.required for action in group._group_actions}
    words, seen = [command.prog], set()
    for action in sorted(actions, key=lambda action: bool(action.option_strings)):
        if action in alternatives:
            group = alternatives[action]
            if group not in seen:
                words.append("(" + " | ".join(_taken(each) for each in group._group_actions) + ")")
            seen.add(group)
        elif not action.option_strings:
            words.append(f"{action.metavar}{'...' if action.nargs == '+' else ''}")
        elif action.required:
            words.append(_taken(action))
    return " ".join([*words, "[OPTION...]"])


def _taken(action: argparse.Action) -> str:
    """An option with what it takes."""
    if action.nargs == 0:
        return action.option_strings[-1]
    taken = action.metavar or "|".join(map(str, action.choices or [action.dest.upper()]))
    return f"{action.option_strings[-1]} {taken}"


def _argument(action: argparse.Action) -> str:
    return _code(_taken(action) if action.option_strings else str(action.metavar))


def _help(action: argparse.Action) -> str:
    required = " (required)" if action.option_strings and action.required else ""
    return (action.help or "") + required


def _default(action: argparse.Action) -> str:
    value = action.default
    if value is None or value is False or value == argparse.SUPPRESS:
        return ""
    if isinstance(value, tuple):
        value = ("x" if action.metavar == "WxH" else ",").join(map(str, value))
    return f"`{value}`"


def _flat(experiment: Any, keys: Iterable[str]) -> dict[str, Any]:
    """{dotted name: value} of an experiment."""
    values = {}
    for key in keys:
        node = experiment
        for part in key.split("."):
            node = getattr(node, part, None)  # of a group that is left out
        values[key] = list(node) if isinstance(node, tuple) else node
    return values


def _grouped(keys: Iterable[str]) -> dict[str, list[str]]:
    """The settings by their first two or three parts."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        parts = key.split(".")
        groups.setdefault(".".join(parts[:min(len(parts) - 1, 3 if parts[1] == "model" else 2)]),
                          []).append(key)
    return groups


def _meanings() -> dict[str, str]:
    """{dotted name: meaning} of what our own configuration classes describe."""
    from crater_model.detector import configs

    places = {configs.CraterTask: ("task",), configs.Trainer: ("trainer",),
              configs.DataConfig: ("task.train_data", "task.validation_data"),
              configs.Parser: ("task.train_data.parser", "task.validation_data.parser")}
    return {f"{place}.{name}": text for kind, prefixes in places.items()
            for name, text in _attributes(kind).items() for place in prefixes}


def _attributes(kind: type) -> dict[str, str]:
    """{name: text} of a docstring's section Attributes."""
    texts: dict[str, str] = {}
    name = ""
    for line in inspect.getdoc(kind).partition("Attributes:\n")[2].splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            name, _, line = line.strip().partition(": ")
        texts[name] = f"{texts.get(name, '')} {line.strip()}".strip()
    return texts


def _assets() -> dict[str, tuple[Any, Any]]:
    """{name: (asset, its run configuration or None)} in the order of the chain, those too that
    are there on demand only."""
    from crater_assets.assets import (
        annotated_images,
        best_model,
        checkpoint,
        pretrained,
        serving_image,
        tfrecords,
    )
    from crater_assets.assets.crater_map import crater_map_asset

    chain = [annotated_images, tfrecords, pretrained, checkpoint, best_model, serving_image,
             crater_map_asset({"image": Path("image.png")})]
    found: dict[str, tuple[Any, Any]] = {}
    for asset in chain:
        parameters = inspect.signature(asset.op.compute_fn.decorated_fn).parameters
        config = parameters["config"].annotation if "config" in parameters else None
        found[asset.key.to_user_string()] = asset, config
    return found


def _entries(table: Mapping[str, Any]) -> str:
    return _table(("name", "type", "", "there only where"), [
        (f"`{name}`", _code(entry.kind), _cell(entry.meaning), _cell(entry.when))
        for name, entry in table.items()])


def _annotation(annotation: Any) -> str:
    """A type as people write it; of a choice its words."""
    if hasattr(annotation, "__members__"):
        return "|".join(annotation.__members__)
    args = [arg.__name__ for arg in typing.get_args(annotation) if arg is not type(None)]
    if typing.get_origin(annotation) is list:
        return f"list of {args[0]}"
    null = "?" if type(None) in typing.get_args(annotation) else ""
    if null:
        inner = next(arg for arg in typing.get_args(annotation) if arg is not type(None))
        return _annotation(inner) + null
    return annotation.__name__


def _value(value: Any) -> str:
    return _code(json.dumps(getattr(value, "value", value)))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines) + "\n"


def _code(text: str) -> str:
    return f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


if __name__ == "__main__":
    main()
