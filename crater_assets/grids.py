"""Grids of hyperparameters: one entry of the YAML file that stands for many sets."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from crater_model.errors import ConfigError

GRID = "grid"
MOST_SETS = 1000  # of one grid; more is a slip, and the UI shows partitions one by one
LONGEST_NAME = 200  # a folder's name may have 255 bytes, and a hash is put behind it


def expand(name: str, grid: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """{partition's name: {dotted setting: value}} of every combination, the last setting fastest.

    The name is `NAME-short=value-short=value`; `short` is the end of the dotted setting, as
    short as tells it from the grid's other settings.

    Args:
      name: the entry's name.
      grid: the values to try of each dotted setting.

    Raises:
      ConfigError: a setting has no list of values, or two combinations have one name.
    """
    if not isinstance(grid, Mapping) or not grid:
        raise ConfigError(f"{GRID}: got {grid!r}, expected {{setting: [value, value, ...]}}")
    count = 1
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ConfigError(f"{GRID}: '{key}': got {values!r}, expected a list of one or more "
                              "values to try")
        count *= len(values)
    if count > MOST_SETS:
        raise ConfigError(f"{GRID}: makes {count} sets, expected at most {MOST_SETS}; try fewer "
                          "values")
    shorts = short_names(list(grid))
    sets: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*grid.values()):
        chosen = dict(zip(grid, values, strict=True))
        full = "-".join([name, *(f"{shorts[key]}={value_text(value)}"
                                 for key, value in chosen.items())])
        if full in sets:
            raise ConfigError(f"{GRID}: gives the name '{full}' to two combinations: {sets[full]} "
                              f"and {chosen}; leave one of the values out")
        if len(full) > LONGEST_NAME:
            raise ConfigError(f"{GRID}: the name '{full}' has {len(full)} characters, expected at "
                              f"most {LONGEST_NAME}; choose a shorter name or vary fewer settings")
        sets[full] = chosen
    return sets


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """{dotted key: its last part, or as many parts as tell it from the others}."""
    shorts = {}
    for key in keys:
        parts = key.split(".")
        others = [other.split(".") for other in keys if other != key]
        length = next((n for n in range(1, len(parts))
                       if all(other[-n:] != parts[-n:] for other in others)), len(parts))
        shorts[key] = ".".join(parts[-length:])
    return shorts


def value_text(value: Any) -> str:
    """A value as it stands in a name: letters, digits and _.+- only."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "x".join(map(value_text, value)) or "empty"
    if isinstance(value, (int, float)):
        return repr(value)
    # Dagster reads "..." as a range.
    return re.sub(r"[^A-Za-z0-9_.+]+|\.{2,}", "_", str(value)) or "empty"
