"""The settings of an experiment by dotted name: which there are, and which values they take.

`settings.json` lists every setting with its type. It is made from Model Garden's and our own
configuration classes (`python -m crater_model.detector.schema`, and a test compares them), so
that hyperparameter sets can be checked in milliseconds, without TensorFlow.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from crater_model.errors import ConfigError

SCHEMA = Path(__file__).with_name("settings.json")
# Of an exported model; see `detector.input_types`.
INPUT_TYPES = ("image_bytes", "image_tensor", "tf_example")
INIT_CHECKPOINT = "task.init_checkpoint"
MAX_MEGAPIXELS = 100.0  # of one image file; see `detector.decoding`
PRESETS = ("demo", "chips_256", "resnet50_1024", "resnet101_1024", "legacy_1024")


@lru_cache
def schema() -> dict[str, str]:
    """{dotted name: type}; the type is bool, int, float, str, list or any, or "one of a|b", and
    ends in "?" where null is allowed."""
    return json.loads(SCHEMA.read_text())


# Ranges by the last part of a setting's name; those that may also be 0 or -1 ("not set", "all", "as
# the records need") are not among them.
_FROM_ONE = frozenset((
    "train_steps", "steps_per_loop", "checkpoint_interval", "validation_interval",
    "summary_interval", "max_to_keep", "global_batch_size", "num_scales", "num_filters", "fc_dims",
    "crop_size", "mask_crop_size", "num_sampled_rois", "num_sampled_masks", "num_proposals",
    "test_num_proposals", "decay_steps", "sample_1_of_n"))
_FROM_ZERO = frozenset(("initial_learning_rate",))  # 0 keeps starting weights as they are
_ABOVE_ZERO = frozenset(("anchor_size", "aug_scale_min", "aug_scale_max"))
_SHARES = frozenset((
    "nms_iou_threshold", "test_nms_iou_threshold", "foreground_iou_threshold",
    "foreground_fraction", "rpn_fg_fraction", "dropout_rate", "momentum", "norm_momentum"))


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


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, each value in the type that it has.

    Args:
      settings: values by dotted name, such as {"trainer.train_steps": 2000}; text is read as
        YAML where the setting is no text, as it comes from a command line.

    Raises:
      ConfigError: there is no such setting (names the nearest), or a value has not its type.
    """
    return {key: _typed(key, _kind(key), value) for key, value in settings.items()}


def check_experiment(name: str | Path) -> None:
    """Sees that an experiment is a preset, a registered name, or a YAML file of valid settings.

    Raises:
      ConfigError: it is not; see `read_experiment_file` and `check_settings`.
    """
    if not is_experiment_file(name):
        return _check_name(str(name), ", or the path of a .yaml file")
    base, settings = read_experiment_file(name)
    try:
        _check_name(base, " to start from")
        check_settings(settings)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _check_name(name: str, more: str) -> None:
    if name not in PRESETS and not is_registered_name(name):
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"experiment '{name}' is unknown; expected one of {', '.join(PRESETS)}"
                          f"{more}{hint}")


def is_experiment_file(name: str | Path) -> bool:
    """Whether it is the path of a YAML file rather than a name."""
    return str(name).endswith((".yaml", ".yml"))


def is_registered_name(text: str) -> bool:
    """Whether it can be a name under which Model Garden knows an experiment of this kind."""
    return text == "maskrcnn_crater" or text.startswith("maskrcnn_crater_")


def read_experiment_file(path: str | Path) -> tuple[str, dict[str, Any]]:
    """(the experiment that the file starts from, what it changes by dotted name).

    Raises:
      ConfigError: the file is missing, is no YAML, or does not say what it starts from.
    """
    try:
        values = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such experiment file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or not isinstance(values.get("experiment"), str):
        raise ConfigError(f"{path}: expected a mapping with the key 'experiment' that names one "
                          f"of {', '.join(PRESETS)} to start from")
    return values.pop("experiment"), flatten(values)


def _kind(key: str) -> str:
    kinds = schema()
    if key in kinds:
        return kinds[key]
    parent: tuple[str, ...] = ()
    for part in key.split("."):
        below = _children(parent)
        if part not in below:
            break
        parent += (part,)
    else:
        raise ConfigError(f"'{key}' is a group of settings; name one of "
                          f"{', '.join(sorted(_children(parent)))} under it")
    above = ".".join(parent)
    where = f"'{above}' has no setting '{part}'" if parent else f"there is no '{part}'"
    near = difflib.get_close_matches(part, below, n=1, cutoff=0.3)
    hint = f"; did you mean '{'.'.join((*parent, near[0]))}'?" if near else ""
    raise ConfigError(f"unknown setting '{key}': {where}{hint}")


def _children(parent: tuple[str, ...]) -> list[str]:
    depth = len(parent)
    names = (tuple(key.split(".")) for key in schema())
    return list({name[depth]: None for name in names
                 if len(name) > depth and name[:depth] == parent})


def _typed(key: str, kind: str, value: Any) -> Any:
    nullable, kind = kind.endswith("?"), kind.removesuffix("?")
    if (isinstance(value, str) and kind in ("bool", "int", "float", "list", "any")) or (
            nullable and value == "null"):
        value = _from_text(value)
    if kind == "any" or (nullable and value is None):
        return value
    if kind.startswith("one of "):
        choices = kind.removeprefix("one of ").split("|")
        if value not in choices:
            raise ConfigError(f"'{key}': got {value!r}, expected one of {', '.join(choices)}")
        return value
    if kind == "float" and not isinstance(value, bool) and isinstance(value, (int, str)):
        # YAML 1.1 reads 1e-3 (no point) as text.
        with contextlib.suppress(ValueError):
            value = float(value)
    if kind == "list" and isinstance(value, tuple):
        value = list(value)
    expected = {"bool": bool, "int": int, "float": float, "list": list, "str": str}[kind]
    if not isinstance(value, expected) or (isinstance(value, bool) and kind != "bool"):
        raise ConfigError(f"'{key}': got {value!r}, expected {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"'{key}': got {value!r}, expected a finite number")
    if isinstance(value, (int, float)) and kind in ("int", "float"):
        _check_range(key, value)
    return value


def _check_range(key: str, value: float) -> None:
    name = key.rpartition(".")[2]
    for names, fits, words in ((_FROM_ONE, value >= 1, "1 or more"),
                               (_FROM_ZERO, value >= 0, "0 or more"),
                               (_ABOVE_ZERO, value > 0, "more than 0"),
                               (_SHARES, 0 <= value <= 1, "0 to 1")):
        if name in names and not fits:
            raise ConfigError(f"'{key}': got {value!r}, expected {words}")


def check_init_checkpoint(settings: Mapping[str, Any], *, names: Collection[str] = ()) -> None:
    """Sees that the weights that a training shall start from are there; of a bucket it does not
    look.

    Args:
      settings: values by dotted name.
      names: what may stand for weights instead of a path.

    Raises:
      ConfigError: there is neither a folder nor a checkpoint.
    """
    path = settings.get(INIT_CHECKPOINT) or ""
    if not path or path in names or "://" in path:
        return
    if not any(Path(text).exists() for text in (path, f"{path}.index")):
        near = f", or {' or '.join(names)}" if names else ""
        raise ConfigError(f"'{INIT_CHECKPOINT}': {path}: there is no such path; expected a trained "
                          f"model directory, a folder with checkpoints or a checkpoint{near}")


def _from_text(value: Any) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value
