"""The list of all settings that `crater_model.settings` reads.

    python -m crater_model.detector.schema     # writes the list anew
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from typing import Any

from official.modeling import hyperparams

from crater_model.detector.configs import left_out
from crater_model.detector.experiment import load_experiment
from crater_model.settings import SCHEMA

_NAMES = {bool: "bool", int: "int", float: "float", str: "str"}


def all_settings(experiment: hyperparams.Config) -> dict[str, str]:
    """{dotted name: type} of an experiment, those of alternatives that are not chosen too."""
    return dict(_walk(experiment, ""))


def _walk(config: hyperparams.Config, prefix: str) -> Iterator[tuple[str, str]]:
    annotations = typing.get_type_hints(type(config))
    fields = {field.name: field for field in dataclasses.fields(config)}
    for name, value in vars(config).items():
        if name.startswith("_") or name in ("default_params", "restrictions"):
            continue
        key = f"{prefix}{name}"
        if group := value if isinstance(value, hyperparams.Config) else left_out(name):
            yield from _walk(group, f"{key}.")
        elif isinstance(config, hyperparams.OneOfConfig) and name == "type":
            yield key, "one of " + "|".join(sorted(set(fields) - {"type"}))
        elif "choices" in fields[name].metadata:
            yield key, "one of " + "|".join(fields[name].metadata["choices"])
        else:
            yield key, _kind(annotations.get(name, Any), value)


def _kind(annotation: Any, value: Any) -> str:
    """The type of a setting from its annotation, or from its value where that says more."""
    args = (typing.get_args(annotation)
            if typing.get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,))
    null = "?" if type(None) in args or value is None else ""
    wanted = [arg for arg in args if arg is not type(None)]
    if len(wanted) == 1:
        origin = typing.get_origin(wanted[0]) or wanted[0]
        if origin in _NAMES:
            return _NAMES[origin] + null
        if isinstance(origin, type) and issubclass(origin, (list, tuple)):
            return "list" + null
    if isinstance(value, (list, tuple)):
        return "list" + null
    return (_NAMES.get(type(value), "any") if value not in (None, "") else "any") + null


def main() -> None:
    SCHEMA.write_text(json.dumps(all_settings(load_experiment("demo")), indent=0) + "\n")


if __name__ == "__main__":
    main()
