"""How steps are run; assets know nothing of it.

`CRATER_EXECUTOR` chooses: processes of this machine (`local`), containers of a Docker engine
(`docker`), or Jobs of a Kubernetes cluster (`kubernetes`). `crater_assets/executors.yaml`, or
the file that `CRATER_EXECUTOR_SETTINGS` names, says what a container or pod looks like. The
steps in the pool "gpu" get a GPU, no other does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from crater_assets.executors.run_config import RUN_CONFIG, at_a_time
from crater_assets.pool import POOL
from crater_model.errors import ConfigError

EXECUTORS = ("local", "docker", "kubernetes")
SETTINGS = Path(__file__).parents[1] / "executors.yaml"

# Each step has its own process, so that its end gives GPU memory back. The processes are forked
# from one that has imported these, each after the other.
PRELOADED = ["crater_assets.executors.preloaded"]


def chosen_executor(assets: Iterable[dg.AssetsDefinition]) -> dg.ExecutorDefinition:
    """The executor that the environment chooses.

    Args:
      assets: all of them; those in the pool "gpu" get a GPU.

    Raises:
      ConfigError: no such executor, its package is not installed, or its settings are wrong.
    """
    name = os.environ.get("CRATER_EXECUTOR") or "local"
    if name not in EXECUTORS:
        raise ConfigError(f"CRATER_EXECUTOR: got '{name}', expected one of {', '.join(EXECUTORS)}")
    if name == "local":
        return local_executor()
    path = Path(os.environ.get("CRATER_EXECUTOR_SETTINGS") or SETTINGS).expanduser()
    settings = read_settings(path)
    steps = gpu_steps(assets, settings["gpu_steps"], path)
    image = os.environ.get("CRATER_IMAGE", "")
    if name == "docker" and not image:
        raise ConfigError("CRATER_EXECUTOR=docker: set CRATER_IMAGE to the user-code image "
                          "(deploy/dagster/Dockerfile)")
    try:
        if name == "docker":
            from crater_assets.executors.containers import docker_executor as make
        else:
            from crater_assets.executors.cluster import kubernetes_executor as make
    except ImportError as error:
        raise ConfigError(f"CRATER_EXECUTOR={name}: {error.name} is not installed; install "
                          "crater-model[cluster]") from error
    try:
        return make(settings[name], steps, image)
    except Exception as error:  # dagster-k8s and docker have many kinds for a wrong key or type
        words = " ".join(str(error).split())[:400]
        raise ConfigError(f"{path}: {words}; compare it with {SETTINGS.name} of "
                          "crater_assets") from error


def local_executor() -> dg.ExecutorDefinition:
    """Steps as processes of this machine, as many at a time as it has cores."""
    def chosen(config: Mapping[str, Any]) -> dict[str, Any]:
        return {"max_concurrent": at_a_time(config),
                "start_method": {"forkserver": {"preload_modules": PRELOADED}}}

    return dg.multiprocess_executor.configured(chosen, name="local", config_schema=RUN_CONFIG)


def gpu_steps(assets: Iterable[dg.AssetsDefinition], further: Iterable[str] = (),
              path: Path = SETTINGS) -> list[str]:
    """The steps that get a GPU: of the assets in the pool "gpu", and `further` ones.

    Raises:
      ConfigError: one of `further` is no asset; `path` names the file it stands in.
    """
    pools = {asset.op.name: asset.op.pool for asset in assets}
    for name in further:
        if name not in pools and name != "pretrained":  # which is not there in every location
            raise ConfigError(f"{path}: gpu_steps: there is no asset '{name}', expected some of "
                              f"{', '.join(pools)}")
    return [name for name, pool in pools.items() if pool == POOL or name in further]


def read_settings(path: Path) -> dict[str, Any]:
    """The file of `CRATER_EXECUTOR_SETTINGS`: gpu_steps, and for docker and kubernetes each the
    mappings every_step and gpu_step.

    Raises:
      ConfigError: it cannot be read, or does not have this form.
    """
    try:
        found = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); set "
                          "CRATER_EXECUTOR_SETTINGS to a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    found = _mapping(path, "the file", found, ("gpu_steps", "docker", "kubernetes"))
    if not isinstance(found.setdefault("gpu_steps", []), list):
        raise ConfigError(f"{path}: gpu_steps: got {found['gpu_steps']!r}, expected a list of "
                          "assets")
    for name in ("docker", "kubernetes"):
        section = _mapping(path, name, found.get(name) or {}, ("every_step", "gpu_step"))
        found[name] = {part: _mapping(path, f"{name}: {part}", section.get(part) or {})
                       for part in ("every_step", "gpu_step")}
    return found


def _mapping(path: Path, what: str, value: Any, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: {what}: got {value!r}, expected a mapping")
    for key in value:
        if keys and key not in keys:
            raise ConfigError(f"{path}: {what}: got the key '{key}', expected "
                              f"{', '.join(keys)}")
    return value
