"""A job whose step is killed: processes of an executor have to find it by its module."""

import os
import signal
from pathlib import Path

import dagster as dg

COUNT = "CRATER_TEST_COUNT"  # names a file that gets a line for every attempt


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=1))
def killed_once():
    """Its process is killed, as by the kernel when memory runs out, on the first attempt."""
    with Path(os.environ[COUNT]).open("a") as file:
        file.write("x\n")
    if Path(os.environ[COUNT]).read_text() == "x\n":
        os.kill(os.getpid(), signal.SIGKILL)


defs = dg.Definitions([killed_once], jobs=[dg.define_asset_job("killed")],
                      executor=dg.multiprocess_executor)
job = defs.resolve_job_def("killed")
