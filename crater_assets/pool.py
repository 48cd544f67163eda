"""The pool that trainings share: as many at a time as there are GPUs, one by default."""

import dagster as dg

POOL = "gpu"


def make_pool_known(instance: dg.DagsterInstance, pool: str) -> None:
    """Gives the pool its default limit before the first run that needs it is queued.

    Dagster does that itself when it first sees such a run, but reads the limits before: all
    runs of a first backfill would start at once.
    """
    storage = instance.event_log_storage
    if storage.supports_global_concurrency_limits and instance.global_op_concurrency_default_limit:
        storage.initialize_concurrency_limit_to_default(pool)
