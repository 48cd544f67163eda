"""The code location: `dagster dev` loads this module."""

import dagster as dg

from crater_assets.assets import ASSETS
from crater_assets.checks import CHECKS
from crater_assets.executors import local_executor
from crater_assets.jobs import JOBS
from crater_assets.resources import Crater

defs = dg.Definitions(
    assets=ASSETS, asset_checks=CHECKS, jobs=JOBS, executor=local_executor(),
    resources={"crater": Crater.from_environment()})
