"""TF Serving's configuration files as the local server reads them."""

import pytest

from crater_model.errors import ServingError
from crater_model.serving.config import batching_of, metrics_path_of
from crater_model.serving.context import CONFIGURATION
from crater_model.serving.settings import METRICS_PATH, Batching


def test_the_image_s_own_files_say_what_crater_serve_does():
    batching, monitoring = CONFIGURATION[:2]
    assert batching_of(batching) == Batching()
    assert metrics_path_of(monitoring) == METRICS_PATH


def test_values_are_read_as_protobuf_s_text(tmp_path):
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 7 }  # comment { value: 9 }\n\n"
                    "batch_timeout_micros {value: 500}\nallowed_batch_sizes : 7\n"
                    "pad_variable_length_inputs: true")
    assert batching_of(file) == Batching(max_batch_size=7, batch_timeout_ms=0.5,
                                         pad_variable_length_inputs=True)
    file.write_text("num_batch_threads { value: 0 }")
    with pytest.raises(ServingError, match="num_batch_threads is 0, expected a number from 1"):
        batching_of(file)
    for text in ("max_batch_size = 3", "max_batch_size: 3", "max_batchsize { value: 3 }"):
        file.write_text(text)
        with pytest.raises(ServingError, match="batching.config: not a BatchingParameters: 1:"):
            batching_of(file)
    file.write_text('prometheus_config { enable: true, path: "/metrics" }')
    assert metrics_path_of(file) == "/metrics"
    file.write_text("prometheus_config { enable: true }")
    assert metrics_path_of(file) == METRICS_PATH
    file.write_text('prometheus_config { enable: false, path: "/metrics" }')
    assert metrics_path_of(file) is None
