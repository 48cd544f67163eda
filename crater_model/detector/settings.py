"""Values of an experiment by dotted name, with the nearest valid name where one is wrong."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

import yaml
from official.modeling import hyperparams

from crater_model.errors import ConfigError


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} -> {'a.b': 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def override(experiment: hyperparams.Config, key: str, value: Any) -> None:
    """Sets one value by its dotted name.

    Raises:
      ConfigError: there is no such setting (names the nearest), or the value has not its type.
    """
    *path, last = key.split(".")
    node: Any = experiment
    for depth, part in enumerate(path):
        node = _child(node, part, ".".join(path[:depth]), key)
    old = _child(node, last, ".".join(path), key)
    if isinstance(old, hyperparams.Config):
        raise ConfigError(f"'{key}' is a group of settings; name one of "
                          f"{', '.join(sorted(old.as_dict()))} under it")
    setattr(node, last, _typed(key, old, value))


def _child(node: Any, part: str, parent: str, key: str) -> Any:
    names = list(node.as_dict()) if isinstance(node, hyperparams.Config) else []
    if part not in names:
        where = f"'{parent}' has no setting '{part}'" if parent else f"there is no '{part}'"
        near = difflib.get_close_matches(part, names, n=1, cutoff=0.3)
        hint = f"; did you mean '{f'{parent}.' if parent else ''}{near[0]}'?" if near else ""
        raise ConfigError(f"unknown setting '{key}': {where}{hint}")
    return getattr(node, part)


def _typed(key: str, old: Any, value: Any) -> Any:
    """`value` in the type that the setting has now, where the two agree."""
    if isinstance(value, str) and not isinstance(old, str) and old is not None:
        value = yaml.safe_load(value)
    if old is None or value is None:
        return value
    if isinstance(old, bool) or isinstance(value, bool):
        fits = isinstance(old, bool) and isinstance(value, bool)
    elif isinstance(old, float) and isinstance(value, (int, str)):
        # YAML 1.1 reads 1e-3 (no point) as text.
        try:
            value, fits = float(value), True
        except ValueError:
            fits = False
    elif isinstance(old, (list, tuple)):
        fits = isinstance(value, (list, tuple))
    else:
        fits = isinstance(value, type(old))
    if not fits:
        raise ConfigError(f"'{key}': got {value!r}, expected {type(old).__name__} like {old!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"'{key}': got {value!r}, expected a finite number")
    return value
