"""The model in service, scored again on today's test scenes."""

import json

import dagster as dg

from crater_assets.assets.best_model import test_scenes
from crater_assets.history import last_materialization
from crater_assets.metadata import described
from crater_assets.promotion import SUMMARY, in_service, scores_of
from crater_assets.resources import Crater
from crater_model.errors import CraterError

TOLERANCE = 0.02  # of the metric; new test scenes are never quite as hard as the old ones
_WARN = dg.AssetCheckSeverity.WARN


@dg.asset_check(asset="serving_image", name="keeps_its_scores")
def scores_kept(context: dg.AssetCheckExecutionContext,
                crater: dg.ResourceParam[Crater]) -> dg.AssetCheckResult:
    """The model in service is as good on the present records' test scenes as when it was released.

    Where neither data nor scenes have changed, the stored scores are taken. New test scenes may
    hold what the model was trained on: then this says more than it should.
    """
    try:
        key = in_service(context.instance)
        records = last_materialization(context.instance, "tfrecords")
        if not key or not records:
            return dg.AssetCheckResult(passed=True, severity=_WARN,
                                       description="no model is in service, or there is no record")
        storage = crater.open_storage()
        scenes = test_scenes(storage, records.artifact)
        summary = json.loads((storage.fetch(key) / SUMMARY).read_text())
        now = scores_of(storage, key, crater.dataset_folder(), scenes) if scenes else {}
    except CraterError as error:
        return dg.AssetCheckResult(passed=False, severity=_WARN, description=str(error))
    return compared(summary["test"], now, "mask_AP")


def compared(then: dict, now: dict, metric: str) -> dg.AssetCheckResult:
    """Passes where a metric, the higher the better, has not fallen by more than `TOLERANCE`."""
    before, after = then.get(metric), now.get(metric)
    if before is None or after is None:
        return dg.AssetCheckResult(passed=True, severity=_WARN,
                                   description="there is no test scene to score on")
    worse = before - after > TOLERANCE
    return dg.AssetCheckResult(
        passed=not worse, severity=_WARN,
        metadata=described("keeps_its_scores", {f"{metric}_then": before, metric: after}),
        description=f"{metric} {after:.4f}, at its release {before:.4f}" + (
            "; train on the new data and release what comes of it" if worse else ""))


reevaluate = dg.define_asset_job(
    "reevaluate", selection=dg.AssetSelection.checks(scores_kept),
    description="Scores the model in service on the present records' test scenes.")
weekly_reevaluation = dg.ScheduleDefinition(
    name="weekly_reevaluation", job=reevaluate, cron_schedule="0 6 * * 1",
    execution_timezone="UTC", default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Mondays at 6:00 UTC; switched off until somebody switches it on.")
