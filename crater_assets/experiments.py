"""All settings of an experiment, without TensorFlow where they were asked for before.

Only Model Garden's classes know every default, and importing them takes ten seconds; an asset
that finds its artifact made needs nothing else of them. What they said is kept in the cache, by
all that it depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import crater_model
from crater_assets.history import short_hash
from crater_model.errors import ConfigError
from crater_model.files import write_json
from crater_model.settings import is_experiment_file, is_registered_name, read_experiment_file
from crater_model.storage.opening import cache_folder


def resolved(experiment: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The whole experiment as nested JSON values.

    Args:
      experiment: as `crater_model.detector.experiment.load_experiment` takes it.
      overrides: values by dotted name.

    Raises:
      ConfigError: the name, a key or a value does not fit.
    """
    base, settings = (read_experiment_file(experiment) if is_experiment_file(experiment)
                      else (experiment, {}))
    stamp = short_hash(base, settings, dict(overrides or {}), _code())
    kept = cache_folder() / "experiments" / f"{stamp}.json"
    try:
        return json.loads(kept.read_text())
    except (OSError, ValueError):
        pass
    from crater_model.detector.experiment import load_experiment

    values = load_experiment(experiment, overrides).as_dict()
    values = json.loads(json.dumps(values, default=str))
    if not is_registered_name(base):  # its code may be anywhere
        with suppress(OSError):  # a cache that cannot be written only costs time
            write_json(kept, values)
    return values


def chip_size(settings: Mapping[str, Any]) -> int:
    """The side in px of the square image that the network reads; see `resolved`."""
    height, width = settings["task"]["model"]["input_size"][:2]
    if height != width:
        raise ConfigError(f"task.model.input_size: got {height} x {width}, expected a square")
    return height


@lru_cache
def _code() -> str:
    """Changes with what makes an experiment of a name: our code and Model Garden."""
    root = Path(crater_model.__file__).parent
    digest = hashlib.sha256(version("tf-models-official").encode())
    for path in sorted([*root.glob("detector/*.py"), root / "settings.py"]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
