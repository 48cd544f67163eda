"""Hyperparameter sets: the partitions of `checkpoint`, read from a reviewed YAML file."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from crater_assets.resources import hyperparameters_file
from crater_model.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def load_hyperparameters(path: str | Path) -> dict[str, dict[str, Any]]:
    """{set's name: {dotted setting: value}} in the file's order.

    Raises:
      ConfigError: the file is missing, is not YAML, or an entry is not a mapping of settings.
        Whether the experiment has the settings is seen when a set is trained.
    """
    path = Path(path)
    try:
        sets = yaml.load(path.read_text(), Loader=_UniqueKeys)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); set CRATER_HYPERPARAMETERS "
                          "to a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(sets, dict) or not sets:
        raise ConfigError(f"{path}: expected at least one 'NAME: {{setting: value}}'")
    for name, settings in sets.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"{path}: set {name!r}: expected a name of letters, digits and _.-")
        if not isinstance(settings, dict):
            raise ConfigError(f"{path}: set '{name}': got {settings!r}, expected a mapping of "
                              "settings, {} for none")
    return {name: _flat(settings) for name, settings in sets.items()}


@lru_cache
def hyperparameters() -> dict[str, dict[str, Any]]:
    """The sets of this code location."""
    return load_hyperparameters(hyperparameters_file())


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key given twice, which YAML forbids and PyYAML forgives."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"'{key}' is given twice (line {node.start_mark.line + 1} on)")
        return super().construct_mapping(node, deep)


def _flat(settings: dict, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


hyperparameter_sets = dg.StaticPartitionsDefinition(list(hyperparameters()))
