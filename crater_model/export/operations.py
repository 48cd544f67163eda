"""Which operations a SavedModel needs, and whether TF Serving as it comes has them.

Needs nothing but TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from crater_model.errors import CraterError

# Registered with every TensorFlow, but run only where Python, XLA or a TPU is.
_ABSENT = ("PyFunc", "Xla", "TPU")
_COMPILED = "_XlaMustCompile"


def check_operations(saved_model: str | Path) -> set[str]:
    """The operations of a SavedModel's graphs and functions, each one the stock server's.

    Custom operations count as absent even where this process has loaded them: `tf.raw_ops`
    lists what TensorFlow was built with.

    Raises:
      CraterError: names the first operation that the stock server lacks, and where it is.
    """
    file = Path(saved_model) / "saved_model.pb"
    found = set()
    for graph in saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs:
        functions = {function.signature.name for function in graph.graph_def.library.function}
        for place, node in _nodes(graph.graph_def):
            stock = hasattr(tf.raw_ops, node.op) and not any(word in node.op for word in _ABSENT)
            if not stock and node.op not in functions:
                raise _refusal(file, f"the operation {node.op}", place)
            if node.attr[_COMPILED].b:
                raise _refusal(file, f"XLA for {node.op} ({_COMPILED})", place)
            found.add(node.op)
        for function in graph.graph_def.library.function:
            if function.attr[_COMPILED].b:
                raise _refusal(file, f"XLA ({_COMPILED})", f"function {function.signature.name}")
    return found


def _nodes(graph) -> Iterator[tuple[str, Any]]:
    """(where it is, node) of a graph and its function library."""
    for node in graph.node:
        yield f"node {node.name}", node
    for function in graph.library.function:
        for node in function.node_def:
            yield f"function {function.signature.name}, node {node.name}", node


def _refusal(file: Path, what: str, place: str) -> CraterError:
    return CraterError(f"{file}: needs {what} ({place}), which TF Serving as it comes does not "
                       "have; build the model of TensorFlow's own operations, without "
                       "tf.py_function and jit_compile")
