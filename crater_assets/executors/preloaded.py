"""What the process has imported that every step's process is forked from (see `local_executor`).

Importing TensorFlow takes ten seconds; a run that has nothing to do needs none.
"""

import gc

import crater_assets.definitions  # noqa: F401
from crater_assets.orphans import end_steps_with_run

end_steps_with_run()
# The collector leaves alone what is here: going through it would copy it into each process.
gc.freeze()
