"""The checkpoints of a model directory: what a kill or a full disk left is cleared away."""

from __future__ import annotations

import shutil
from pathlib import Path

import tensorflow as tf

from crater_model.detector.detector import BEST, PARAMS
from crater_model.files import write_bytes
from crater_model.progress import say
from crater_model.training.history import METRICS, RESULT, RIMS

_STATE = "checkpoint"  # TensorFlow's file that names the newest one


def step_of(path: str | None) -> int:
    """The global step that a checkpoint was written at; 0 without one."""
    if path is None:
        return 0
    reader = tf.train.load_checkpoint(path)
    return int(reader.get_tensor("global_step/.ATTRIBUTES/VARIABLE_VALUE"))


def tidy(model_dir: Path) -> None:
    """Removes what is half-written: pieces of checkpoints and files not yet renamed. Newest
    checkpoints that cannot be read are set aside as hidden files, with a word, and TensorFlow's
    note of the newest names the one that can.
    """
    for folder in (model_dir, model_dir / BEST):
        whole = {path.stem for path in folder.glob("ckpt-*.index")}
        for path in folder.glob("ckpt-*"):
            if path.is_dir():  # "ckpt-8_temp"
                shutil.rmtree(path)
            elif path.name.split(".")[0] not in whole:
                path.unlink()
    for name in (METRICS, RIMS, RESULT, PARAMS):
        for path in model_dir.glob(f".{name}.*"):  # see `files.write_bytes`
            path.unlink()
    _name_the_newest(model_dir)


def _name_the_newest(model_dir: Path) -> None:
    found = sorted((path.with_suffix("") for path in model_dir.glob("ckpt-*.index")),
                   key=lambda path: int(path.name.removeprefix("ckpt-")))
    while found and not _is_whole(found[-1]):
        name = found.pop().name
        say(f"{model_dir}: {name} cannot be read and is set aside (.{name}.*); training goes on "
            f"from {found[-1].name if found else 'the beginning'}")
        for path in model_dir.glob(f"{name}.*"):
            path.rename(path.with_name(f".{path.name}"))
    state = model_dir / _STATE
    if not found:
        state.unlink(missing_ok=True)
    elif _noted(model_dir) != str(found[-1]):
        names = [f'model_checkpoint_path: "{found[-1].name}"',
                 *(f'all_model_checkpoint_paths: "{path.name}"' for path in found)]
        write_bytes(state, "".join(f"{line}\n" for line in names).encode())


def _noted(model_dir: Path) -> str | None:
    try:
        return tf.train.latest_checkpoint(str(model_dir))
    except ValueError:  # it is empty, or no text
        return None


def _is_whole(checkpoint: Path) -> bool:
    try:
        reader = tf.train.load_checkpoint(str(checkpoint))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)  # its checksum is compared
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError):
        return False
    return True
