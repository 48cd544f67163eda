"""The code location: `dagster dev` loads this module.

A hyperparameter set, an experiment or an executor with a wrong setting fails here, not in
training.
"""

import dagster as dg

from crater_assets.assets import ASSETS
from crater_assets.assets.progress import training_progress
from crater_assets.automation import automatic_assets, automation_sensors
from crater_assets.checks import CHECKS
from crater_assets.executors import chosen_executor
from crater_assets.jobs import JOBS
from crater_assets.partitions import PRETRAINED
from crater_assets.reevaluation import reevaluate, scores_kept, weekly_reevaluation
from crater_assets.resources import Crater, crater_resource
from crater_model.settings import (
    check_experiment,
    check_init_checkpoint,
    is_experiment_file,
    read_experiment_file,
)

crater = Crater.from_environment()
check_experiment(crater.experiment)
if is_experiment_file(crater.experiment):
    check_init_checkpoint(read_experiment_file(crater.experiment)[1], names=(PRETRAINED,))

defs = dg.Definitions(
    assets=[*automatic_assets(ASSETS), training_progress], asset_checks=[*CHECKS, scores_kept],
    jobs=[*JOBS, reevaluate], schedules=[weekly_reevaluation], sensors=automation_sensors(),
    executor=chosen_executor(ASSETS), resources={"crater": crater_resource(crater)})
