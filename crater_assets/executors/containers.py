"""Steps as containers of a Docker engine; those that want a GPU get one.

dagster-docker configures all steps of a run alike, so the handler that starts them adds what
only some need.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import dagster as dg
import docker

# As in cluster.py; the rest is what dagster-docker's own executor is made of, which has no public
# name and gives every step the same container.
from dagster._config import process_config
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import StepDelegatingExecutor, StepHandlerContext
from dagster_docker.container_context import DOCKER_CONTAINER_CONTEXT_SCHEMA, DockerContainerContext
from dagster_docker.docker_executor import DockerStepHandler
from dagster_docker.utils import validate_docker_config

from crater_assets.executors.run_config import RUN_CONFIG, at_a_time
from crater_model.errors import ConfigError

_HEALTH_CHECK_S = 5  # so soon is a killed container seen


def docker_executor(settings: Mapping[str, Any], gpu_steps: Sequence[str],
                    image: str) -> dg.ExecutorDefinition:
    """An executor that runs each step in a container of its own.

    Args:
      settings: every_step and gpu_step, each with container_kwargs, env_vars, networks, registry
        as dagster-docker takes them.
      gpu_steps: the steps that gpu_step is added to.
      image: the user-code image. Every CRATER_ variable of this process is passed on to it.

    Raises:
      ConfigError: a key or value that dagster-docker does not know.
      Exception: of many kinds, for one that Docker does not know.
    """
    every = _context("every_step", settings["every_step"])
    passed = DockerContainerContext(env_vars=sorted(
        name for name in os.environ if name.startswith("CRATER_")))
    every, gpu = passed.merge(every), _context("gpu_step", settings["gpu_step"])

    @dg.executor(
        name="docker", requirements=dg.multiple_process_executor_requirements(),
        config_schema=RUN_CONFIG)
    def containers(context: dg.InitExecutorContext) -> dg.Executor:
        """Each step in a container of its own."""
        return StepDelegatingExecutor(
            StepContainers(image, every, gpu, gpu_steps), retries=RetryMode.ENABLED,
            max_concurrent=at_a_time(context.executor_config),
            check_step_health_interval_seconds=_HEALTH_CHECK_S)

    return containers


class StepContainers(DockerStepHandler):
    """Starts, watches and stops the containers of steps."""

    def __init__(self, image: str, every: DockerContainerContext, gpu: DockerContainerContext,
                 gpu_steps: Sequence[str]):
        super().__init__(image, every)
        self._gpu, self._gpu_steps = gpu, frozenset(gpu_steps)

    def _get_docker_container_context(self, step_handler_context: StepHandlerContext):
        context = super()._get_docker_container_context(step_handler_context)
        step = self._get_step_key(step_handler_context)
        context = context.merge(self._gpu) if step in self._gpu_steps else context
        kwargs = context.container_kwargs
        labels = {**_labels(kwargs), **_marks(step_handler_context.dagster_run, step)}
        return context._replace(container_kwargs={**kwargs, "labels": labels})

    def launch_step(self, step_handler_context: StepHandlerContext):
        """Starts the step's container, after an end to those of the runs that this one repeats.

        A container outlives the process of its run.
        """
        client = self._get_client(self._get_docker_container_context(step_handler_context))
        marks = _marks(step_handler_context.dagster_run,
                       self._get_step_key(step_handler_context))
        for left in client.containers.list(
                filters={"label": [f"{name}={value}" for name, value in marks.items()]}):
            with suppress(docker.errors.APIError):  # it has just ended
                left.kill()
        yield from super().launch_step(step_handler_context)


def _marks(run: dg.DagsterRun, step: str) -> dict[str, str]:
    """Labels that the containers of a step share, also of the runs that repeat the run."""
    return {"crater.run": run.root_run_id or run.run_id, "crater.step": step}


def _labels(kwargs: Mapping[str, Any]) -> dict[str, str]:
    labels = kwargs.get("labels") or {}
    return dict(labels) if isinstance(labels, Mapping) else dict.fromkeys(labels, "")


def _context(part: str, settings: Mapping[str, Any]) -> DockerContainerContext:
    """What dagster-docker makes of the settings, each key checked, also against Docker's."""
    found = process_config(DOCKER_CONTAINER_CONTEXT_SCHEMA, dict(settings))
    if not found.success:
        raise ConfigError(f"docker: {part}: " + "; ".join(
            " ".join(error.message.split()) for error in found.errors or ()))
    context = DockerContainerContext(**(found.value or {}))
    validate_docker_config(None, context.networks, context.container_kwargs)
    kwargs = {key: value for key, value in context.container_kwargs.items()
              if key != "stop_timeout"}
    # As docker does before it creates a container; the version asks no engine.
    docker.models.containers._create_container_args(
        kwargs | {"image": "any", "command": None, "version": "1.44"})
    return context
