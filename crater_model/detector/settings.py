"""Settings put into an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from official.modeling import hyperparams

from crater_model.detector.configs import left_out
from crater_model.errors import ConfigError
from crater_model.settings import check_settings


def override(experiment: hyperparams.Config, settings: Mapping[str, Any]) -> None:
    """Sets values by dotted name.

    Raises:
      ConfigError: an unknown setting or a value that does not fit (see `check_settings`), or
        a setting of an alternative that is not chosen, which would have no effect.
    """
    for key, value in check_settings(settings).items():
        node = experiment
        *path, last = key.split(".")
        for part in path:
            if getattr(node, part) is None:
                setattr(node, part, left_out(part))
            node = getattr(node, part)
        setattr(node, last, value)
    for key in settings:
        _refuse_without_effect(experiment, key)


def _refuse_without_effect(experiment: hyperparams.Config, key: str) -> None:
    node, parts = experiment, key.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, hyperparams.OneOfConfig) and part not in ("type", node.type):
            group = ".".join(parts[:depth])
            raise ConfigError(f"'{key}' has no effect, since '{group}.type' is '{node.type}'; set "
                              f"that to '{part}' as well")
        node = getattr(node, part)
