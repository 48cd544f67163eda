"""What a run may set of its executor, whichever that is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from crater_model.errors import ConfigError

# Dagster drops, without a word, what a run sets of an executor that was configured with fixed
# values.
RUN_CONFIG = {"max_concurrent": dg.Field(
    dg.Noneable(dg.Int), default_value=None, is_required=False,
    description="Steps of a run at a time, 1 or more. Null: as many as there are cores here, or "
                "no limit for containers and Jobs.")}


def at_a_time(config: Mapping[str, Any]) -> int | None:
    """`max_concurrent` of a run's configuration.

    Raises:
      ConfigError: it is not 1 or more.
    """
    most = config.get("max_concurrent")
    if most is not None and most < 1:
        raise ConfigError(f"execution: max_concurrent: got {most}, expected 1 or more, or null")
    return most
