"""A process that trains again and again keeps no graph of what it has trained."""

import gc
import weakref

import pytest
import tensorflow as tf

from crater_model.training.graphs import graphs_let_go


def trace():
    """Traces a function with a gradient of its own; gives a weak reference to its graph."""
    @tf.custom_gradient
    def doubled(value):
        return 2 * value, lambda upstream: 3 * upstream

    @tf.function
    def slope(value):
        with tf.GradientTape() as tape:
            tape.watch(value)
            result = doubled(value)
        return tape.gradient(result, value)

    assert slope(tf.constant(5.0)).numpy() == 3
    return weakref.ref(slope.get_concrete_function(tf.constant(5.0)).graph)


@pytest.mark.parametrize("kept", [True, False])
def test_graphs_are_let_go(kept):
    """Without it they stay, or there would be nothing to let go."""
    if kept:
        graph = trace()
    else:
        with graphs_let_go():
            graph = trace()
    gc.collect()
    assert (graph() is not None) == kept


def test_graphs_are_let_go_where_a_training_fails():
    with pytest.raises(ValueError), graphs_let_go():
        graph = trace()
        raise ValueError
    gc.collect()
    assert graph() is None
