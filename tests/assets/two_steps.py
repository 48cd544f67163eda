"""A job of two steps that could go on at once, in the local executor; each notes when it is there."""

import os
import time
from pathlib import Path

import dagster as dg

from crater_assets.executors import local_executor


def _note(word: str) -> None:
    with Path(os.environ["CRATER_TEST_TIMES"]).open("a") as file:
        file.write(f"{word}\n")


def _step() -> None:
    _note("in")
    time.sleep(0.5)
    _note("out")


@dg.op
def one():
    _step()


@dg.op
def other():
    _step()


@dg.job(executor_def=local_executor())
def two_steps():
    one()
    other()
