"""Several machines, as two processes of this one; and what is refused."""

import json
import os
import socket
import subprocess
import sys

import pytest

from crater_model.detector.experiment import load_experiment
from crater_model.errors import ConfigError
from crater_model.training.devices import MULTI_WORKER, make_strategy, set_precision
from crater_model.training.history import read_history
from tests.tiny import TINY


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.slow
def test_two_machines_train_one_model(tmp_path, tiny_records):
    """Both come to the same score, and only the first writes; started again, both go on."""
    # Momentum, as in the large presets, has half of AdamW's variables, each of them mirrored.
    settings = {**TINY, "trainer.early_stop_validations": 1,
                "trainer.optimizer_config.optimizer.type": "sgd"}
    model = tmp_path / "model"
    first = together(tiny_records, tmp_path, settings)
    assert [run["steps"] for run in first] == [4, 4] and first[0]["metrics"]["images"] == 2
    assert first[0]["metric"] == first[1]["metric"] and first[0]["metric"]["value"] is not None
    history = read_history(model)
    assert [(row["kind"], row["step"]) for row in history] == [
        ("train", 2), ("validation", 2), ("train", 4), ("validation", 4)]
    assert len(list(model.glob("train/events*"))) == 1

    # As after a kill before the last loop.
    (model / "result.json").unlink()
    for file in model.glob("ckpt-4.*"):
        file.unlink()
    state = (model / "checkpoint").read_text().replace("ckpt-4", "ckpt-2")
    (model / "checkpoint").write_text(state)
    again = together(tiny_records, tmp_path, settings)
    assert [run["steps"] for run in again] == [4, 4]
    assert again[0]["metric"] == again[1]["metric"]
    assert [row["step"] for row in read_history(model)] == [2, 2, 4, 4]
    assert again[0]["loss"] == pytest.approx(first[0]["loss"], rel=0.25)


def together(records, folder, settings) -> list[dict]:
    """The results that two processes print which train together."""
    hosts = ",".join(f"127.0.0.1:{free_port()}" for _ in range(2))
    processes = []
    for index in range(2):
        values = {**settings, "runtime.distribution_strategy": MULTI_WORKER,
                  "runtime.worker_hosts": hosts, "runtime.task_index": index}
        command = [sys.executable, "-m", "crater_model.cli", "train", str(records), "--json",
                   "--model-dir", str(folder / "model")]
        command += [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
        processes.append(subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=open(folder / f"{index}.log", "w"), text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}))
    try:
        outputs = [process.communicate(timeout=1200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], (
        folder / "0.log").read_text()[-2000:]
    return [json.loads(output) for output in outputs]


@pytest.mark.parametrize("runtime, words", [
    ({"distribution_strategy": "tpu"}, "got 'tpu', expected one of one_device, mirrored, multi_w"),
    ({"distribution_strategy": MULTI_WORKER}, "needs the machines: set 'runtime.worker_hosts'"),
    ({"distribution_strategy": MULTI_WORKER, "worker_hosts": "a:1,b:1", "task_index": 2},
     "'runtime.task_index': got 2, expected this machine's place"),
])
def test_what_cannot_run_is_refused(runtime, words):
    config = load_experiment("demo", {f"runtime.{key}": v for key, v in runtime.items()})
    with pytest.raises(ConfigError, match=words):
        make_strategy(config)


def test_float16_scales_its_loss():
    import tf_keras

    config = load_experiment("demo", {"runtime.mixed_precision_dtype": "float16"})
    try:
        set_precision(config)
        assert tf_keras.mixed_precision.global_policy().name == "mixed_float16"
        assert config.runtime.loss_scale == "dynamic"
    finally:
        tf_keras.mixed_precision.set_global_policy("float32")
