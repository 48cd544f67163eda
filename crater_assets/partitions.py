"""Hyperparameter sets: the partitions of `checkpoint`, read from a reviewed YAML file.

An entry of the file names one set, or a grid that stands for many::

    baseline: {}

    anchors:
      trainer.train_steps: 1000
      grid:
        task.model.anchor.num_scales: [1, 2]
        task.model.anchor.anchor_size: [3.0, 4.0]

makes `baseline`, `anchors-num_scales=1-anchor_size=3.0`, and three more.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from crater_assets.grids import GRID, expand
from crater_assets.resources import Crater, hyperparameters_file
from crater_model.errors import ConfigError, DataError
from crater_model.settings import (
    INIT_CHECKPOINT,
    check_init_checkpoint,
    check_settings,
    flatten,
    is_experiment_file,
    read_experiment_file,
)

PRETRAINED = "pretrained"  # as the init_checkpoint: what the asset of this name has trained
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.-]*")


def load_hyperparameters(path: str | Path) -> dict[str, dict[str, Any]]:
    """{set's name: {dotted setting: value}} in the file's order, grids written out.

    Raises:
      ConfigError: the file is missing, is not YAML, an entry is not a mapping of settings, a
        setting does not exist (names the nearest) or its value has another type. Whether the
        values go together is seen when a set is trained.
    """
    path = Path(path)
    try:
        entries = yaml.load(path.read_text(), Loader=_UniqueKeys)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); set CRATER_HYPERPARAMETERS "
                          "to a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f"{path}: expected at least one 'NAME: {{setting: value}}'")
    sets: dict[str, dict[str, Any]] = {}
    for name, entry in entries.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"{path}: set {name!r}: expected a name of letters, digits and _.-, "
                              "without '..'")
        try:
            found = _sets(name, entry)
            for settings in found.values():
                check_init_checkpoint(settings, names=(PRETRAINED,))
            sets |= found  # no two alike: what a grid appends begins with -SHORT=
        except ConfigError as error:
            raise ConfigError(f"{path}: set '{name}': {error}") from None
    return sets


@lru_cache
def hyperparameters() -> dict[str, dict[str, Any]]:
    """The sets of this code location."""
    return load_hyperparameters(hyperparameters_file())


def hyperparameters_of(name: str) -> dict[str, Any]:
    """One of the sets of this code location.

    Raises:
      DataError: it is not there any more, as when a run of it is started again.
    """
    if name not in hyperparameters():
        near = difflib.get_close_matches(name, hyperparameters(), n=1)
        raise DataError(f"checkpoint[{name}]: there is no such hyperparameter set in "
                        f"{hyperparameters_file()} any more"
                        + (f"; the nearest is '{near[0]}'" if near else "")
                        + ". Put it back, or start a run of another")
    return hyperparameters()[name]


def wants_pretrained(experiment: str, overrides: dict[str, Any]) -> bool:
    """Whether a hyperparameter set starts from the asset `pretrained`.

    Args:
      experiment: a preset or a YAML file, which may itself say so for all sets.
      overrides: the set.
    """
    if INIT_CHECKPOINT in overrides or not is_experiment_file(experiment):
        return overrides.get(INIT_CHECKPOINT) == PRETRAINED
    return read_experiment_file(experiment)[1].get(INIT_CHECKPOINT) == PRETRAINED


@lru_cache
def pretraining_is_wanted() -> bool:
    """Whether any set of this code location starts from the asset `pretrained`."""
    experiment = Crater.from_environment().experiment
    return any(wants_pretrained(experiment, each) for each in hyperparameters().values())


def _sets(name: str, entry: Any) -> dict[str, dict[str, Any]]:
    """The sets of one entry of the file."""
    if not isinstance(entry, dict):
        raise ConfigError(f"got {entry!r}, expected a mapping of settings, {{}} for none")
    common = check_settings(flatten({k: v for k, v in entry.items() if k != GRID}))
    if GRID not in entry:
        return {name: common}
    grid = entry[GRID]
    if isinstance(grid, dict):
        grid = {key: [check_settings({key: value})[key] for value in values]
                if isinstance(values, list) else values for key, values in flatten(grid).items()}
        for key in grid.keys() & common.keys():
            raise ConfigError(f"'{key}' stands in the grid and beside it; keep one of them")
    return {full: common | chosen for full, chosen in expand(name, grid).items()}


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key given twice, which YAML forbids and PyYAML forgives."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"'{key}' is given twice (line {node.start_mark.line + 1} on)")
        return super().construct_mapping(node, deep)


hyperparameter_sets = dg.StaticPartitionsDefinition(list(hyperparameters()))
