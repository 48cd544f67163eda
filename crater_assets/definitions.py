"""The code location: `dagster dev` loads this module.

A hyperparameter set or an experiment with a wrong setting fails here, not in training.
"""

import dagster as dg

from crater_assets.assets import ASSETS
from crater_assets.checks import CHECKS
from crater_assets.executors import local_executor
from crater_assets.jobs import JOBS
from crater_assets.resources import Crater
from crater_model.settings import check_experiment

crater = Crater.from_environment()
check_experiment(crater.experiment)

defs = dg.Definitions(
    assets=ASSETS, asset_checks=CHECKS, jobs=JOBS, executor=local_executor(),
    resources={"crater": crater})
