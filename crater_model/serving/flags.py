"""The flags that `tensorflow_model_server` knows, and how it reads them.

Source: TensorFlow Serving 2.20.0, commit bc7e9d2b9a419294c4526e293c2df8727b0d3116,
tensorflow_serving/model_servers/main.cc (names and types) and server.h (defaults); the grammar
is that of TensorFlow's tensorflow/core/util/command_line_flags.cc.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from crater_model.errors import ConfigError

_CPUS = os.cpu_count() or 1
# Name -> default; its type is the flag's.
FLAGS: dict[str, int | float | bool | str] = {
    "port": 8500,
    "grpc_socket_path": "",
    "rest_api_port": 0,
    "rest_api_num_threads": 4 * _CPUS,
    "rest_api_timeout_in_ms": 30_000,
    "rest_api_enable_cors_support": False,
    "enable_batching": False,
    "allow_version_labels_for_unavailable_models": False,
    "batching_parameters_file": "",
    "enable_per_model_batching_parameters": False,
    "model_config_file": "",
    "model_config_file_poll_wait_seconds": 0,
    "model_name": "default",
    "model_base_path": "",
    "num_load_threads": 0,
    "num_unload_threads": 0,
    "max_num_load_retries": 5,
    "load_retry_interval_micros": 60_000_000,
    "file_system_poll_wait_seconds": 1,
    "flush_filesystem_caches": True,
    "tensorflow_session_parallelism": 0,
    "tensorflow_session_config_file": "",
    "tensorflow_intra_op_parallelism": 0,
    "tensorflow_inter_op_parallelism": 0,
    "use_alts_credentials": False,
    "ssl_config_file": "",
    "platform_config_file": "",
    "per_process_gpu_memory_fraction": 0.0,
    "saved_model_tags": "serve",
    "grpc_channel_arguments": "",
    "grpc_max_threads": 4 * _CPUS,
    "enable_model_warmup": True,
    "num_request_iterations_for_warmup": 0,
    "version": False,
    "monitoring_config_file": "",
    "remove_unused_fields_from_bundle_metagraph": True,
    "prefer_tflite_model": False,
    "num_tflite_pools": _CPUS,
    "num_tflite_interpreters_per_pool": 1,
    "enable_signature_method_name_check": False,
    "xla_cpu_compilation_enabled": False,
    "xla_gpu_compilation_enabled": False,
    "enable_profiler": True,
    "thread_pool_factory_config_file": "",
    "mixed_precision": "",
    "skip_initialize_tpu": False,
    "enable_grpc_healthcheck_service": False,
    "enable_serialization_as_tensor_content": False,
}


def parse(arguments: Iterable[str]) -> dict[str, int | float | bool | str]:
    """Every flag's value; of one that is given twice the last counts.

    Raises:
      ConfigError: an argument that is no flag (`tensorflow_model_server` says so too, and goes on
        without it), or a value that is not of the flag's type.
    """
    values = dict(FLAGS)
    for argument in arguments:
        name, equals, text = argument.removeprefix("--").partition("=")
        known = argument.startswith("--") and name in FLAGS
        if not known or not (equals or isinstance(FLAGS[name], bool)):
            hint = f"; expected --{name}=VALUE" if known else ""
            raise ConfigError(f"unknown argument: {argument}{hint}")
        try:
            values[name] = _value(FLAGS[name], text if equals else "true")
        except ValueError:
            raise ConfigError(f"Couldn't interpret value {text!r} for flag {name}, expected "
                              f"{type(FLAGS[name]).__name__}") from None
    return values


def _value(default, text: str) -> int | float | bool | str:
    if not isinstance(default, bool):
        return type(default)(text)
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"
