"""TF Serving's configuration files as the local server reads them."""

import pytest

from crater_model.errors import ServingError
from crater_model.serving.config import batching_of, metrics_path_of
from crater_model.serving.context import CONFIGURATION
from crater_model.serving.settings import METRICS_PATH, Batching


def test_the_image_s_own_files_say_what_crater_serve_does():
    batching, monitoring = CONFIGURATION
    assert batching_of(batching) == Batching()
    assert metrics_path_of(monitoring) == METRICS_PATH


def test_other_values_comments_and_fields_of_tf_serving_alone(tmp_path):
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 7 }  # comment { value: 9 }\n\n"
                    "batch_timeout_micros {value: 500}\nallowed_batch_sizes : 7\n")
    assert batching_of(file) == Batching(max_batch_size=7, batch_timeout_ms=0.5)
    file.write_text("num_batch_threads { value: 0 }")
    with pytest.raises(ServingError, match="num_batch_threads is 0, expected a number from 1"):
        batching_of(file)
    file.write_text("\nmax_batch_size = 3")
    with pytest.raises(ServingError, match="line 2: 'max_batch_size = 3' is not NAME"):
        batching_of(file)
    file.write_text('prometheus_config { enable: true, path: "/metrics" }')
    assert metrics_path_of(file) == "/metrics"
    file.write_text('prometheus_config { enable: false, path: "/metrics" }')
    assert metrics_path_of(file) is None
