"""`python -m crater_model.serving`: the local server under `tensorflow_model_server`'s flags.

With it a container or a script made for TF Serving runs where TF Serving's binary is not
at hand. It is meant for development and tests.

It takes the flags that the real one knows and no other. It listens on every interface, as that
does, unless $CRATER_SERVING_HOST names an address.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from crater_model.errors import ConfigError, CraterError, ServingError
from crater_model.serving import flags
from crater_model.serving.config import batching_of, metrics_path_of, models_of
from crater_model.serving.settings import Batching

HOST = "CRATER_SERVING_HOST"
# What has an effect here. Of the others, those that a client would notice are refused, and those
# that tune TF Serving are passed over.
_TAKEN = {"port", "rest_api_port", "rest_api_timeout_in_ms", "model_name", "model_base_path",
          "model_config_file", "enable_batching", "batching_parameters_file",
          "monitoring_config_file", "file_system_poll_wait_seconds", "grpc_channel_arguments",
          "enable_grpc_healthcheck_service", "allow_version_labels_for_unavailable_models",
          "enable_serialization_as_tensor_content"}
_NOTICED = {"grpc_socket_path", "rest_api_enable_cors_support", "use_alts_credentials",
            "ssl_config_file", "platform_config_file", "saved_model_tags", "prefer_tflite_model",
            "enable_per_model_batching_parameters", "model_config_file_poll_wait_seconds",
            "enable_signature_method_name_check", "version"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM; gives the exit code."""
    try:
        options = flags.parse(sys.argv[1:] if arguments is None else arguments)
        _check(options)
        from crater_model.serving.server import run

        run(_server(options))
    except CraterError as error:
        print(f"Failed to start server. Error: {error}", file=sys.stderr)
        return 1
    return 0


def _check(options: Mapping) -> None:
    for name, value in options.items():
        if value != flags.FLAGS[name] and name not in _TAKEN:
            if name in _NOTICED:
                raise ConfigError(f"--{name}: TF Serving knows this flag, and this stand-in does "
                                  "not do what it says")
            print(f"--{name} has no effect here", file=sys.stderr, flush=True)
    for name in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        if options[name] and not Path(options[name]).is_file():
            raise ServingError(f"{options[name]}: no such file")
    if not options["model_config_file"] and not options["model_base_path"]:
        raise ServingError("give --model_config_file or --model_base_path")
    if options["batching_parameters_file"] and not options["enable_batching"]:
        raise ServingError("--batching_parameters_file is given without --enable_batching")
    _channel_arguments(options["grpc_channel_arguments"])
    if not options["port"]:
        raise ServingError("--port: 0, expected a port: the API is not served without gRPC")


def _server(options: Mapping):
    from crater_model.serving.models import Model
    from crater_model.serving.server import Server

    if options["model_config_file"]:
        models = models_of(Path(options["model_config_file"]),
                           options["allow_version_labels_for_unavailable_models"])
    else:
        models = [Model(options["model_name"], options["model_base_path"])]
    monitoring = options["monitoring_config_file"]
    return Server(
        models, grpc_port=options["port"], rest_port=options["rest_api_port"] or None,
        host=os.environ.get(HOST) or "0.0.0.0",
        enable_health=options["enable_grpc_healthcheck_service"], batching=_batching(options),
        poll_s=options["file_system_poll_wait_seconds"],
        rest_timeout_s=options["rest_api_timeout_in_ms"] / 1e3,
        tensor_content=options["enable_serialization_as_tensor_content"],
        channel_arguments=_channel_arguments(options["grpc_channel_arguments"]),
        metrics_path=metrics_path_of(Path(monitoring)) if monitoring else None)


def _batching(options: Mapping) -> Batching:
    if not options["enable_batching"]:
        return Batching(max_batch_size=1, num_batch_threads=os.cpu_count() or 1)
    file = options["batching_parameters_file"]
    return batching_of(Path(file)) if file else Batching()


def _channel_arguments(text: str) -> dict[str, int | str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(key and equals for key, equals, _ in pairs):
        raise ConfigError(f"--grpc_channel_arguments={text}: expected KEY=VALUE, several with "
                          "commas")
    return {key: int(value) if value.lstrip("-").isdigit() else value for key, _, value in pairs}


if __name__ == "__main__":
    sys.exit(main())
