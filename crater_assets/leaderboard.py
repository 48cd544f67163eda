"""Which hyperparameter set is best, and why some take no part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from crater_assets.history import Materialization, last_failure, last_materialization
from crater_model.errors import DataError


@dataclass(frozen=True)
class Entry:
    """One hyperparameter set on the leaderboard; `score` is None where it takes no part.

    `note` then says why, in one line.
    """

    partition: str
    score: float | None
    note: str
    made: Materialization | None

    def number(self, name: str) -> float | None:
        """One of the materialization's numbers; None where it says none, as somebody may have
        reported it."""
        value = dict(self.made.metadata).get(name) if self.made else None
        return value if isinstance(value, (int, float)) else None


def leaderboard(instance: dg.DagsterInstance, partitions: Sequence[str], records: str,
                metric: str, objective: str,
                hyperparameters: Mapping[str, Mapping[str, Any]] | None = None) -> list[Entry]:
    """Every hyperparameter set, the best score first, those that take no part last.

    Equal scores stand in the order of their names, so that a choice does not change by chance.
    A set takes no part if it was not trained, its last training failed (also after an earlier
    one that succeeded), its check failed, its last training was on other records or with other
    settings than the file now gives it, or it has no score: none by that name, none that is a
    number, or a negative one, which is how COCO says that nothing was labelled.

    Args:
      records: storage key of the records that a checkpoint must have been trained on.
      metric: name of a validation score.
      objective: "max" or "min".
      hyperparameters: the present settings of each set; None does not compare them.
    """
    entries = []
    for name in partitions:
        made = last_materialization(instance, "checkpoint", name)
        try:
            why = _excluded(instance, name, made, records, (hyperparameters or {}).get(name))
            score, note = (None, why) if why or made is None else _score(made, metric)
        except DataError as error:  # somebody reported it
            score, note = None, str(error)
        entries.append(Entry(name, score, note, made))
    sign = -1 if objective == "max" else 1
    return sorted(entries, key=lambda e: (e.score is None, sign * (e.score or 0), e.partition))


def _excluded(instance: dg.DagsterInstance, name: str, made: Materialization | None, records: str,
              settings: Mapping[str, Any] | None) -> str:
    """Why a set takes no part whatever its score; empty where it does."""
    failed = last_failure(instance, "checkpoint", name, since=made)
    if failed:
        return f"failed: {failed}"
    if made is None:
        return "not trained"
    if made.check_passed is False:
        return f"check failed: {made.problem}"
    if made.metadata["records"] != records:
        return "trained on other records"
    if settings is not None and made.metadata.get("hyperparameters", settings) != settings:
        return "trained with other settings"
    return ""


def _score(made: Materialization, metric: str) -> tuple[float | None, str]:
    """The score, or None and why there is none that counts."""
    result = made.metadata["result"]
    chosen = result["metric"]
    value = chosen["value"] if chosen["name"] == metric else result["metrics"].get(metric)
    if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return None, f"no valid {metric} ({value})"
    return float(value), ""


def rows(entries: Sequence[Entry], metric: str) -> list[dict[str, Any]]:
    """The leaderboard as a table."""
    def of(entry: Entry, name: str) -> float | None:
        return entry.number(name) if entry.score is not None else None

    return [{"rank": rank if entry.score is not None else None, "hyperparameters": entry.partition,
             metric: entry.score, "loss": of(entry, "loss"), "seconds": of(entry, "seconds"),
             "note": entry.note}
            for rank, entry in enumerate(entries, start=1)]


def varied(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """{setting: {set: its value}} of the settings that not all sets have alike.

    A set that leaves one to the experiment has no value of it.
    """
    settings = dict.fromkeys(key for values in sets.values() for key in values)
    found = {key: {name: values[key] for name, values in sets.items() if key in values}
             for key in settings}
    return {key: values for key, values in found.items()
            if len(values) < len(sets) or len(set(map(repr, values.values()))) > 1}
