"""What the stock server lacks is refused by name."""

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from crater_model.errors import CraterError
from crater_model.export.operations import check_operations


def save(folder, function):
    module = tf.Module()
    module.run = tf.function(function, input_signature=[tf.TensorSpec([None])])
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.run})
    return folder


def test_operations_of_all_functions_are_listed(tmp_path):
    def run(x):
        return {"y": tf.map_fn(lambda one: tf.cos(one) if one > 0 else tf.sin(one), x)}

    found = check_operations(save(tmp_path, run))
    assert {"Cos", "Sin", "StatefulPartitionedCall", "Placeholder"} <= found
    assert not any("PyFunc" in name for name in found)


def test_a_python_function_is_refused(tmp_path):
    def run(x):
        return {"y": tf.py_function(lambda v: v + 1, [x], tf.float32)}

    with pytest.raises(CraterError, match=r"saved_model\.pb: needs the operation EagerPyFunc "
                                          r"\(function \S*run\S*, node EagerPyFunc\)"):
        check_operations(save(tmp_path, run))


def test_xla_is_refused(tmp_path):
    compiled = tf.function(lambda v: v * 2, jit_compile=True)
    with pytest.raises(CraterError, match="needs XLA .*_XlaMustCompile.*TF Serving"):
        check_operations(save(tmp_path, lambda x: {"y": compiled(x)}))


def test_a_custom_operation_is_refused(tmp_path):
    file = save(tmp_path, lambda x: {"y": tf.cos(x)}) / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    node, = [node for function in saved.meta_graphs[0].graph_def.library.function
             for node in function.node_def if node.op == "Cos"]
    node.op = "CosOfOurs"
    file.write_bytes(saved.SerializeToString())
    with pytest.raises(CraterError, match="the operation CosOfOurs"):
        check_operations(tmp_path)
