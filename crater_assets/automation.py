"""What happens by itself when the data set changes: nothing, until a sensor is switched on.

`CRATER_AUTOMATION` says how far it goes then: `offer` only tells of a new version, on the page
of `annotated_images`; `records` also checks it and writes records; `training` goes on to train
every hyperparameter set; `promotion` to the best model and the serving image, past the same
checks as by hand.
"""

import os
from collections.abc import Sequence

import dagster as dg

from crater_assets.history import last_saying
from crater_assets.jobs import prepare_data
from crater_assets.metadata import described
from crater_assets.resources import Crater
from crater_model.errors import ConfigError, CraterError

LEVELS = ("offer", "records", "training", "promotion")
STAMP = "source_stamp"  # metadata of annotated_images: how its source looked
_TICK_S = 300

_EAGER = dg.AutomationCondition.eager()
_CHECKED = _EAGER & dg.AutomationCondition.all_deps_blocking_checks_passed()
# best_model waits until no training runs any more, and leaves out itself what failed its check.
_CONDITIONS = {
    "training": {"checkpoint": _CHECKED},
    "promotion": {"checkpoint": _CHECKED, "best_model": _EAGER, "serving_image": _CHECKED},
}


def automation_level() -> str:
    """$CRATER_AUTOMATION, `offer` by default.

    Raises:
      ConfigError: it is none of LEVELS.
    """
    level = os.environ.get("CRATER_AUTOMATION") or "offer"
    if level not in LEVELS:
        raise ConfigError(f"CRATER_AUTOMATION: got '{level}', expected one of {', '.join(LEVELS)}")
    return level


def automatic_assets(assets: Sequence[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """The assets, with the condition on which each is made by itself at this level."""
    conditions = _CONDITIONS.get(automation_level(), {})
    return [*dg.map_asset_specs(
        lambda spec: spec.replace_attributes(
            automation_condition=conditions.get(spec.key.to_user_string())), assets)]


def automation_sensors() -> list[dg.SensorDefinition]:
    """The sensors of this level, all switched off until somebody switches them on."""
    followed = _CONDITIONS.get(automation_level())
    if not followed:
        return [new_data()]
    return [new_data(), dg.AutomationConditionSensorDefinition(
        automation_level(), target=dg.AssetSelection.assets(*followed),
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Goes on from new records, as far as CRATER_AUTOMATION says.")]


def new_data() -> dg.SensorDefinition:
    """The sensor that sees that the labelled images are others than those last materialized.

    It looks at names, sizes and times only, and waits until two looks find the same: files that
    are just being copied are no new version yet.
    """
    offers = automation_level() == "offer"

    # Under `offer` it launches nothing, and the UI shall name no job.
    @dg.sensor(
        name="new_data", minimum_interval_seconds=_TICK_S, job=None if offers else prepare_data,
        default_status=dg.DefaultSensorStatus.STOPPED, description=(
            "Sees that CRATER_DATASET has changed, once two looks find it the same. " + (
                "Tells of it on the page of annotated_images and launches nothing "
                "(CRATER_AUTOMATION=offer)." if offers else
                f"Launches prepare_data (CRATER_AUTOMATION={automation_level()}).")))
    def sensor(context: dg.SensorEvaluationContext,
               crater: dg.ResourceParam[Crater]) -> dg.SensorResult | dg.SkipReason:
        return _look(context, crater, offers)

    return sensor


def _look(context: dg.SensorEvaluationContext, crater: Crater,
          offers: bool) -> dg.SensorResult | dg.SkipReason:
    try:
        stamp = crater.dataset_stamp()
    except CraterError as error:
        return dg.SkipReason(str(error))
    if not stamp:
        return dg.SkipReason("CRATER_DATASET names no folder of this machine; what it "
                             "stands for does not change")
    made = last_saying(context.instance, STAMP, "annotated_images")
    if made and str(dict(made.metadata)[STAMP]) == stamp:
        return dg.SkipReason("the data set is the one that was materialized last")
    seen, told = (context.cursor or " ").split(" ")
    if stamp == told:
        return dg.SkipReason("the new version was announced already")
    if stamp != seen:
        return dg.SensorResult(cursor=f"{stamp} {told}", skip_reason=dg.SkipReason(
            "the data set has changed; the next look sees whether it is complete"))
    cursor = f"{stamp} {stamp}"
    if offers:
        return dg.SensorResult(cursor=cursor, asset_events=[dg.AssetObservation(
            "annotated_images", description="a new version of the data set is there",
            metadata=described("new data", {
                "dataset": crater.dataset, STAMP: stamp,
                "to do": "run prepare_data, then backfill train, then run release"}))])
    return dg.SensorResult(cursor=cursor, run_requests=[
        dg.RunRequest(run_key=stamp, tags={"crater/started_by": "new_data"})])
