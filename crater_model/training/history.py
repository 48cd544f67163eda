"""What a model directory remembers of its training: rows of scores, and the summary."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from crater_model.errors import CraterError

LOG = "train.log"
METRICS = "metrics.jsonl"
RESULT = "result.json"
RIMS = "rims.png"

Row = dict[str, Any]


def read_history(model_dir: str | Path) -> list[Row]:
    """The rows of metrics.jsonl, in order; a last line cut short by a kill is left out.

    A row of `kind` "train" has the means of a loop: `step`, `total_loss` and its parts,
    `learning_rate`, `steps_per_second`, `images_per_second`, `seconds_left` (None until there
    is enough to go by); one of `kind` "validation" the scores (see `Evaluator.result`). Both
    have `seconds`, from the start.
    """
    path = Path(model_dir) / METRICS
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def read_result(model_dir: str | Path) -> dict[str, Any]:
    """The summary of a finished run.

    Raises:
      CraterError: the folder holds no finished run.
    """
    path = Path(model_dir) / RESULT
    if not path.exists():
        raise CraterError(f"{model_dir}: holds no finished training ({RESULT} is missing); "
                          "run `crater train` with this --model-dir to finish it")
    return json.loads(path.read_text())
