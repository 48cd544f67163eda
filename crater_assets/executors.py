"""How steps are run; assets know nothing of it."""

from __future__ import annotations

import dagster as dg

# Each step has its own process, so that its end gives GPU memory back. The processes are forked
# from one that has imported TensorFlow already, which would cost every step ten seconds; the
# imports alone touch no GPU.
PRELOADED = ["crater_model.training", "crater_model.evaluation", "crater_model.export"]


def local_executor() -> dg.ExecutorDefinition:
    """Steps as processes of this machine, as many at a time as it has cores."""
    return dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {"preload_modules": PRELOADED}}}, name="local")
