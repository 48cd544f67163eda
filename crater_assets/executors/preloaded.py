"""What the process has imported that every step's process is forked from (see `local_executor`).

Importing TensorFlow takes ten seconds; a run that has nothing to do needs none.
"""

import gc
import os

import crater_assets.definitions  # noqa: F401
from crater_assets.orphans import end_steps_with_run

end_steps_with_run()
# TensorFlow would take all of a GPU: a training of another history, or a second one of the pool
# where it has two places, would find none left.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
# The collector leaves alone what is here: going through it would copy it into each process.
gc.freeze()
