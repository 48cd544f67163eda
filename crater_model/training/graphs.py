"""What TensorFlow keeps of a training for as long as the process lives, and how it is let go."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from tensorflow.python.framework import ops


@contextmanager
def graphs_let_go() -> Iterator[None]:
    """Lets go of the training graphs that are traced inside, so that a process may train often.

    TensorFlow puts every gradient made by `tf.custom_gradient` into a table of the process, for
    good, and it holds the whole graph around it; a strategy's sum of the gradients, which is in
    each training step, is one. The smallest network's graph takes 200 MB. Nothing asks for these
    gradients once the step is traced, so they leave the table when the block ends.

    What an earlier training has left goes when the next one starts: it lies in circles of
    references, which Python finds late.
    """
    gc.collect()
    table = ops.gradient_registry._registry
    before = set(table)
    try:
        yield
    finally:
        for name in set(table) - before:
            if name.startswith("CustomGradient-"):
                del table[name]
