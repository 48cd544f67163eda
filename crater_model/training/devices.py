"""Where a training runs: one device, several GPUs, or several machines.

Several machines run the same command on the same records and model directory (a shared
folder), each with the list of all and its own place in it: `runtime.worker_hosts=HOST:PORT,...`
and `runtime.task_index=0`, 1, ... or TensorFlow's TF_CONFIG variable, as Kubernetes'
training operators set it. The first is the chief: it alone writes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
import tf_keras
from official.common import distribute_utils
from official.modeling import performance

from crater_model.detector.configs import Experiment
from crater_model.errors import ConfigError

MULTI_WORKER = "multi_worker_mirrored"
STRATEGIES = ("one_device", "mirrored", MULTI_WORKER)


def make_strategy(config: Experiment) -> tf.distribute.Strategy:
    """The distribution strategy of an experiment; call it before anything else of TensorFlow.

    Args:
      config: its `runtime` says which strategy and how many GPUs (0: all there are). Mirrored
        on one device is `one_device`.

    Raises:
      ConfigError: an unknown strategy, or several machines without a list of them.
    """
    runtime = config.runtime
    kind = runtime.distribution_strategy
    if kind not in STRATEGIES:
        raise ConfigError(f"'runtime.distribution_strategy': got '{kind}', expected one of "
                          f"{', '.join(STRATEGIES)}")
    if kind == MULTI_WORKER:
        _configure_cluster(runtime)
    gpus = len(tf.config.list_physical_devices("GPU"))
    runtime.num_gpus = min(runtime.num_gpus or gpus, gpus)
    if kind == "mirrored" and runtime.num_gpus <= 1:
        kind = "one_device"
    if kind == "one_device":
        runtime.num_gpus = min(runtime.num_gpus, 1)
    strategy = distribute_utils.get_distribution_strategy(
        distribution_strategy=kind, num_gpus=runtime.num_gpus,
        all_reduce_alg=runtime.all_reduce_alg, num_packs=runtime.num_packs)
    replicas, batch = strategy.num_replicas_in_sync, config.task.train_data.global_batch_size
    if batch % replicas:
        raise ConfigError(f"'task.train_data.global_batch_size': got {batch}, expected a multiple "
                          f"of the {replicas} devices that share it")
    return strategy


@contextmanager
def full_precision_after() -> Iterator[None]:
    """Whatever precision is set inside, float32 holds in this process afterwards."""
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes: the only one, or the first of several machines."""
    return strategy.extended.should_checkpoint


def agree(strategy: tf.distribute.Strategy, value: float | None) -> float | None:
    """The mean of a score over all machines, so that all come to the same decision.

    Each has batch statistics of its own, and so slightly other scores; one that took part in
    writing a checkpoint while another did not would wait for ever.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return value

    number = tf.constant(math.nan if value is None else value, tf.float32)
    shared = float(strategy.reduce(tf.distribute.ReduceOp.MEAN, number, axis=None))
    return shared if math.isfinite(shared) else None


def set_precision(config: Experiment) -> None:
    """Sets the precision that layers compute in; float16 gets a loss scale, without which its
    small gradients vanish (Micikevicius et al. 2018)."""
    runtime = config.runtime
    performance.set_mixed_precision_policy(runtime.mixed_precision_dtype)
    if runtime.mixed_precision_dtype == "float16" and runtime.loss_scale is None:
        runtime.loss_scale = "dynamic"


def _configure_cluster(runtime) -> None:
    if runtime.worker_hosts:
        hosts = runtime.worker_hosts.split(",")
        if not 0 <= runtime.task_index < len(hosts):
            raise ConfigError(f"'runtime.task_index': got {runtime.task_index}, expected this "
                              f"machine's place, from 0, in 'runtime.worker_hosts' "
                              f"({len(hosts)} of them)")
        os.environ["TF_CONFIG"] = json.dumps({
            "cluster": {"worker": hosts}, "task": {"type": "worker", "index": runtime.task_index}})
    elif "TF_CONFIG" not in os.environ:
        raise ConfigError(
            f"'runtime.distribution_strategy' {MULTI_WORKER} needs the machines: set "
            "'runtime.worker_hosts' (HOST:PORT,HOST:PORT,...) and 'runtime.task_index', or "
            "TF_CONFIG")
