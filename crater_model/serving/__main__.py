"""`python -m crater_model.serving`: the local server under `tensorflow_model_server`'s flags.

With it a container or a script made for TF Serving runs where TF Serving's binary is not
at hand. It is meant for development and tests.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from crater_model.errors import CraterError, ServingError
from crater_model.serving.config import batching_of, metrics_path_of, models_of
from crater_model.serving.settings import POLL_SECONDS, Batching


def _switch(text: str) -> bool:
    if text.lower() in ("true", "t", "1", "false", "f", "0"):
        return text.lower() in ("true", "t", "1")
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _arguments(text: str) -> dict[str, int | str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if not all(key and equals for key, equals, _ in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=VALUE, several with commas")
    return {key: int(value) if value.lstrip("-").isdigit() else value for key, _, value in pairs}


def parser() -> argparse.ArgumentParser:
    """The flags of tensorflow_model_server that this server takes."""
    flags = argparse.ArgumentParser("crater_model.serving", description=__doc__,
                                    allow_abbrev=False)
    flags.add_argument("--host", default="0.0.0.0", help="address to listen on")
    flags.add_argument("--port", type=int, default=8500, help="gRPC port")
    flags.add_argument("--rest_api_port", type=int, default=0, help="REST port; 0: no REST")
    flags.add_argument("--model_name", default="default")
    flags.add_argument("--model_base_path", type=Path)
    flags.add_argument("--model_config_file", type=Path, help="ModelServerConfig as text")
    flags.add_argument("--batching_parameters_file", type=Path)
    flags.add_argument("--monitoring_config_file", type=Path)
    flags.add_argument("--file_system_poll_wait_seconds", type=float, default=POLL_SECONDS,
                       help="look for new versions this often; 0: only at the start")
    flags.add_argument("--grpc_channel_arguments", type=_arguments, default={},
                       metavar="KEY=VALUE[,...]", help="settings of gRPC")
    for name in ("enable_batching", "enable_grpc_healthcheck_service",
                 "allow_version_labels_for_unavailable_models",
                 "enable_serialization_as_tensor_content"):
        flags.add_argument(f"--{name}", type=_switch, nargs="?", const=True, default=False)
    return flags


def _batching(flags) -> Batching:
    if not flags.enable_batching:
        return Batching(max_batch_size=1, num_batch_threads=os.cpu_count() or 1)
    return batching_of(flags.batching_parameters_file) if flags.batching_parameters_file \
        else Batching()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until SIGTERM; gives the exit code."""
    flags = parser().parse_args(arguments)
    try:
        for file in (flags.model_config_file, flags.batching_parameters_file,
                     flags.monitoring_config_file):
            if file is not None and not file.is_file():
                raise ServingError(f"{file}: no such file")
        if not flags.model_config_file and not flags.model_base_path:
            raise ServingError("give --model_config_file or --model_base_path")
        from crater_model.serving.models import Model
        from crater_model.serving.server import Server, run

        if flags.model_config_file:
            models = models_of(flags.model_config_file,
                               flags.allow_version_labels_for_unavailable_models)
        else:
            models = [Model(flags.model_name, flags.model_base_path)]
        run(Server(models, grpc_port=flags.port, rest_port=flags.rest_api_port or None,
                   host=flags.host, enable_health=flags.enable_grpc_healthcheck_service,
                   batching=_batching(flags), poll_s=flags.file_system_poll_wait_seconds,
                   channel_arguments=flags.grpc_channel_arguments,
                   metrics_path=flags.monitoring_config_file
                   and metrics_path_of(flags.monitoring_config_file)))
    except CraterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
