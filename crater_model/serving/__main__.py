"""`python -m crater_model.serving`: the local server under `tensorflow_model_server`'s flags.

With it a container or a script made for TF Serving runs where TF Serving's binary is not
at hand. Batching and monitoring files must exist and are otherwise not used: this
server does neither.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from crater_model.errors import CraterError, ServingError


def _switch(text: str) -> bool:
    if text.lower() in ("true", "t", "1", "false", "f", "0"):
        return text.lower() in ("true", "t", "1")
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


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
    for name in ("enable_batching", "enable_grpc_healthcheck_service",
                 "allow_version_labels_for_unavailable_models",
                 "enable_serialization_as_tensor_content"):
        flags.add_argument(f"--{name}", type=_switch, nargs="?", const=True, default=False)
    return flags


def models_of(config_file: Path, labels_at_boot: bool) -> list:
    """The models that a ModelServerConfig file names."""
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    from crater_model.serving.models import Model
    from crater_model.serving.versions import version_folders

    try:
        config = text_format.Parse(config_file.read_text(),
                                   model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise ServingError(f"{config_file}: not a ModelServerConfig: {error}") from None
    models = []
    for entry in config.model_config_list.config:
        if entry.version_labels and not labels_at_boot:  # as TF Serving does
            raise ServingError(f"{config_file}: labels versions before they are loaded; give "
                               "--allow_version_labels_for_unavailable_models")
        versions = version_folders(entry.base_path)
        policy = entry.model_version_policy
        if policy.HasField("specific"):
            missing = set(policy.specific.versions) - set(versions)
            if missing:
                raise ServingError(f"{entry.base_path}: has no version {min(missing)}, "
                                   f"which {config_file} names; it has {list(versions)}")
            versions = {number: versions[number] for number in policy.specific.versions}
        elif not policy.HasField("all"):
            newest = sorted(versions)[-(policy.latest.num_versions or 1):]
            versions = {number: versions[number] for number in newest}
        models.append(Model(entry.name, versions, dict(entry.version_labels)))
    return models


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
        from crater_model.serving.versions import version_folders

        if flags.model_config_file:
            models = models_of(flags.model_config_file,
                               flags.allow_version_labels_for_unavailable_models)
        else:
            versions = version_folders(flags.model_base_path)
            newest = max(versions)
            models = [Model(flags.model_name, {newest: versions[newest]})]
        run(Server(models, grpc_port=flags.port, rest_port=flags.rest_api_port or None,
                   host=flags.host, enable_health=flags.enable_grpc_healthcheck_service))
    except CraterError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
