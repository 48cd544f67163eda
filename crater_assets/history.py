"""What Dagster remembers of an asset: its last materialization, and whether its checks passed.

Assets hand large folders on by storage key: the upstream asset's materialization says under
which key it put them, so a consumer takes exactly that and never "the newest file".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg

# Dagster has no public way to the evaluations of one partition.
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from crater_assets.faults import is_fault
from crater_assets.reading import Metadata
from crater_model.errors import CraterError, DataError

# asset -> its blocking check; checks.py defines them.
BLOCKING_CHECKS = {
    "annotated_images": "labels_valid",
    "tfrecords": "records_agree_with_the_data_set",
    "checkpoint": "loss_finite_and_metric_present",
    "best_model": "not_worse_than_in_service",
}
_REPORTED = 20  # materializations that are looked through for one of ours
_RUNS = 20  # failed runs of a partition that are looked at


@dataclass(frozen=True)
class Materialization:
    """The last materialization of an asset or of one of its partitions.

    Attributes:
      metadata: its plain values; one that is missing is said in words (see `Metadata`).
      check_passed: result of the blocking check on this very materialization; None if it
        has none or has not run.
      problem: the failed check's own words, "" otherwise.
    """

    asset: str
    partition: str | None
    metadata: Metadata
    run_id: str
    timestamp: float
    storage_id: int
    check_passed: bool | None
    problem: str = ""

    @property
    def artifact(self) -> str:
        """Storage key of what was made; "" of a data set that is used where it lies.

        Raises:
          DataError: the materialization does not say it.
        """
        entry = self.metadata.table.get("artifact")
        return self.metadata.get("artifact", "") if not entry or entry.when else (
            self.metadata["artifact"])


def last_materialization(instance: dg.DagsterInstance, asset: str,
                         partition: str | None = None) -> Materialization | None:
    """The last materialization of `asset` (of its `partition`), or None."""
    return next(_materializations(instance, asset, partition, 1), None)


def last_saying(instance: dg.DagsterInstance, name: str, asset: str,
                partition: str | None = None) -> Materialization | None:
    """The last materialization that says `name`, past those that somebody reported by hand."""
    return next((made for made in _materializations(instance, asset, partition, _REPORTED)
                 if name in made.metadata), None)


def _materializations(instance: dg.DagsterInstance, asset: str, partition: str | None,
                      most: int) -> Iterator[Materialization]:
    """The newest first."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset),
                              asset_partitions=[partition] if partition else None), limit=most)
    for record in found.records:
        made = record.asset_materialization
        assert made is not None
        metadata = Metadata(asset, _title(asset, partition),
                            {name: value.value for name, value in made.metadata.items()},
                            instance.get_run_by_id(record.run_id) is None)
        yield Materialization(asset, partition, metadata, record.run_id, record.timestamp,
                              record.storage_id,
                              *_blocking_check(instance, asset, partition, record))


def _title(asset: str, partition: str | None) -> str:
    return f"{asset}[{partition}]" if partition else asset


def upstream(context, asset: str, partition: str | None = None) -> Materialization:
    """The last materialization of an asset that the running one reads.

    A failing blocking check stops what comes after it only within its own run, hence the
    second look here.

    Raises:
      DataError: it was never materialized, its last materialization does not say what it made,
        or its blocking check failed.
    """
    found, name = last_materialization(context.instance, asset, partition), _title(asset, partition)
    if found is None:
        raise DataError(f"{name} has not been materialized; materialize it first")
    _ = found.artifact
    if found.check_passed is False:
        raise DataError(f"{name} failed its check: {found.problem}")
    return found


def last_failure(instance: dg.DagsterInstance, asset: str, partition: str,
                 since: Materialization | None = None) -> str:
    """Why the newest attempt at a partition failed, in one line; empty where it did not.

    Args:
      since: the partition's last materialization; only later failures count.
    """
    failed = instance.get_run_records(dg.RunsFilter(
        tags={"dagster/partition": partition}, statuses=[dg.DagsterRunStatus.FAILURE]), limit=_RUNS)
    for record in failed:  # the newest first
        run_id = record.dagster_run.run_id
        if since and (run_id == since.run_id or (record.end_time or 0) <= since.timestamp):
            continue
        words = _failed_step(instance, run_id, asset)
        if words:
            return words
    return ""


def _failed_step(instance: dg.DagsterInstance, run_id: str, step: str) -> str:
    """What a step of a failed run failed of; empty where it succeeded or was never its turn."""
    planned, elsewhere, words = False, False, ""
    kinds = {dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, dg.DagsterEventType.STEP_SUCCESS,
             dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run_id, of_type=kinds):
        event = entry.dagster_event
        assert event is not None  # these kinds are Dagster's
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
            planned |= event.asset_key == dg.AssetKey(step)
        elif event.is_run_failure:
            if planned and not elsewhere and not words:  # its process is gone or never came
                words = f"its run {run_id} failed: {event.message}"
        elif event.step_key != step:
            elsewhere |= event.is_step_failure
        elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
            return ""
        else:
            data: Any = event.event_specific_data
            said, cause = data.user_failure_data, data.error
            while cause and cause.cause:
                cause = cause.cause
            words = (said and said.description) or (cause and cause.message) or "no reason given"
    return " ".join(words.split())


def _blocking_check(instance, asset: str, partition: str | None,
                    materialization) -> tuple[bool | None, str]:
    check = BLOCKING_CHECKS.get(asset)
    if check is None:
        return None, ""
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(dg.AssetKey(asset), check), limit=25,
        status={AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED},
        partition_filter=PartitionKeyFilter(key=partition))
    for record in records:  # the newest first
        evaluation = record.event.dagster_event.event_specific_data
        target = evaluation.target_materialization_data
        # In a partitioned run Dagster names no target for an asset without partitions; what is
        # said after the last materialization is about it.
        if (target.storage_id == materialization.storage_id if target
                else record.event.timestamp >= materialization.timestamp):
            return evaluation.passed, evaluation.description or check
    return None, ""


@contextmanager
def plain_failures() -> Iterator[None]:
    """An error becomes a step failure whose message is one line; only a fault of the
    infrastructure is tried again."""
    try:
        yield
    except CraterError as error:
        raise dg.Failure(str(error), allow_retries=is_fault(error)) from error
    except (dg.Failure, dg.DagsterError):
        raise
    except Exception as error:
        raise dg.Failure(f"{type(error).__name__}: {' '.join(str(error).split())[:400]}",
                         allow_retries=is_fault(error)) from error


def short_hash(*values: Any) -> str:
    """Eight hex digits that change when any of these JSON values does."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def short_fingerprint(fingerprint: str) -> str:
    """The first twelve hex digits of "sha256:..."."""
    return fingerprint.rpartition(":")[2][:12]
