"""Steps as Jobs of a Kubernetes cluster; those that want a GPU get one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

# Dagster checks a configuration only where a run starts; this says at load what is wrong in it.
from dagster._config import process_config
from dagster_k8s import k8s_job_executor
from dagster_k8s.job import (
    USER_DEFINED_K8S_JOB_CONFIG_SCHEMA,
    DagsterK8sJobConfig,
    UserDefinedDagsterK8sConfig,
    construct_dagster_k8s_job,
)

from crater_assets.executors.run_config import RUN_CONFIG, at_a_time
from crater_model.errors import ConfigError


def kubernetes_executor(settings: Mapping[str, Any], gpu_steps: Sequence[str],
                        image: str) -> dg.ExecutorDefinition:
    """An executor that runs each step as a Job of its own.

    Namespace, service account and variables are those of the code location that the run comes
    from (`includeConfigInLaunchedRuns` in the Helm values), and so is the image.

    Args:
      settings: every_step and gpu_step, as dagster-k8s takes `step_k8s_config`.
      gpu_steps: the steps that gpu_step is added to.
      image: another image than the code location's; empty for that.

    Raises:
      ConfigError: a key that dagster-k8s does not know.
      Exception: of many kinds, for a key or value that Kubernetes does not know.
    """
    for name, part in settings.items():  # now, and not when the first step starts
        found = process_config({name: dg.Field(USER_DEFINED_K8S_JOB_CONFIG_SCHEMA)}, {name: part})
        if not found.success:
            raise ConfigError("kubernetes: " + "; ".join(
                " ".join(error.message.split()) for error in found.errors or ()))
        construct_dagster_k8s_job(
            DagsterK8sJobConfig(job_image="any"), args=None, job_name="any",
            user_defined_k8s_config=UserDefinedDagsterK8sConfig.from_dict(part))
    config: dict[str, Any] = {"step_k8s_config": dict(settings["every_step"]),
              "per_step_k8s_config": {step: dict(settings["gpu_step"]) for step in gpu_steps}}
    if image:
        config["job_image"] = image
    return k8s_job_executor.configured(
        lambda run: config | {key: most for key, most in [("max_concurrent", at_a_time(run))]
                              if most}, name="kubernetes", config_schema=RUN_CONFIG)
