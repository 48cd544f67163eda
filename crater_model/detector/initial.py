"""Starting weights: from one of our finished models, or from a Model Garden checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import tensorflow as tf

from crater_model.errors import ConfigError

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
# What a checkpoint holds beside the model's weights.
_NOT_WEIGHTS = ("save_counter", "optimizer", "global_step", ".OPTIMIZER_SLOT")
_MOST_NAMED = 3


def find_checkpoint(path: str) -> str:
    """The checkpoint (its path without suffix) at a place where weights may lie.

    Args:
      path: one of our model directories (its best checkpoint is meant), a folder of
        checkpoints (the last) or a checkpoint; local or gs://.

    Raises:
      ConfigError: there is none.
    """
    path = path.removesuffix(".index").rstrip("/")
    if tf.io.gfile.exists(f"{path}.index"):
        return path
    best = [name.removesuffix(".index") for name in tf.io.gfile.glob(f"{path}/best/ckpt-*.index")]
    if best:
        return max(best, key=lambda name: int(name.rpartition("-")[2]))
    latest = tf.train.latest_checkpoint(path)
    if latest is None:
        raise ConfigError(
            f"task.init_checkpoint {path}: holds no checkpoint; expected a trained model "
            "directory, a folder with checkpoints, or a checkpoint's path without its suffix")
    return latest


def fingerprint(path: str) -> str:
    """A checksum of the weights at `path`, wherever they lie: the checkpoint's index, which
    holds a checksum of every tensor."""
    with tf.io.gfile.GFile(f"{find_checkpoint(path)}.index", "rb") as file:
        return f"sha256:{hashlib.sha256(file.read()).hexdigest()}"


def load_weights(model, path: str, modules: str) -> str:
    """Loads weights into a model before its training.

    Args:
      model: a built `CraterMaskRCNN`.
      path: see `find_checkpoint`.
      modules: "all", "backbone", "decoder" or "backbone,decoder".

    Returns:
      The checkpoint's path.

    Raises:
      ConfigError: there is no checkpoint, or its weights are not those of this model; the
        text names what did not match.
    """
    checkpoint = find_checkpoint(path)
    shapes = tf.train.load_checkpoint(checkpoint).get_variable_to_shape_map()
    parts = {"model": model} if modules == "all" else {
        name: getattr(model, name) for name in modules.split(",")}
    parts = {name: part for name, part in parts.items() if part is not None}
    # Our checkpoints and Model Garden's detectors hold the parts below "model", its
    # classifiers (ImageNet) beside it.
    below = modules != "all" and not any(key.split("/")[0] in parts for key in shapes)
    root = tf.train.Checkpoint(**parts)
    try:
        reader = tf.train.Checkpoint(model=root) if below else root
        reader.read(checkpoint).expect_partial().assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        problem = _mismatch(parts, "model/" if below else "", shapes) or str(error).split("\n")[0]
        fix = ("choose the network it was made with (task.backbone, task.model.*)"
               + ("" if modules != "all" else ", or take only a part of it: "
                  "task.init_checkpoint_modules=backbone,decoder leaves the heads out"))
        raise ConfigError(f"task.init_checkpoint {path}: does not fit this network: {problem}; "
                          f"{fix}") from error
    return checkpoint


def _mismatch(parts: Mapping[str, object], prefix: str,
              shapes: Mapping[str, list[int]]) -> str:
    """What of the model's weights the checkpoint lacks, or holds in another shape."""
    wanted = {f"{prefix}{name}/{key}": list(variable.shape)
              for name, part in parts.items() for key, variable in _named_variables(part)}
    weights = {key.removesuffix(_VALUE): shape for key, shape in shapes.items()
               if not any(word in key for word in _NOT_WEIGHTS)}
    other = [f"{key} is {weights[key]} there, {shape} here" for key, shape in wanted.items()
             if key in weights and weights[key] != shape]
    missing = [key for key in wanted if key not in weights]
    said = []
    if other:
        more = f" and {len(other) - _MOST_NAMED} more" if len(other) > _MOST_NAMED else ""
        said.append(", ".join(other[:_MOST_NAMED]) + more)
    if missing:
        said.append(f"{len(missing)} of {len(wanted)} weights are not in it, {missing[0]} first")
    return "; ".join(said)


def _named_variables(part) -> list[tuple[str, tf.Variable]]:
    """The part's weights under the names that a checkpoint gives them."""
    view = tf.train.TrackableView(part)
    names, queue, found, seen = {id(part): ""}, [part], [], set()
    while queue:  # breadth first, as checkpoints name things
        node = queue.pop(0)
        for name, child in view.children(node).items():
            if id(child) in names:
                continue
            names[id(child)] = f"{names[id(node)]}{name}/"
            if isinstance(child, tf.Variable) and id(child) not in seen:
                seen.add(id(child))
                found.append((names[id(child)].rstrip("/"), child))
            queue.append(child)
    return found
