"""TF Serving's configuration files, in protobuf's text format and read as strictly as there."""

from __future__ import annotations

import functools
from pathlib import Path

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from crater_model.errors import ServingError
from crater_model.serving.settings import METRICS_PATH, Batching
from crater_model.serving.versions import Policy, version_folders

# Schemas that the package of TF Serving's API lacks: message -> field -> (number, type).
# session_bundle_config.proto and monitoring_config.proto of 2.20.0.
_WRAPPED = ".google.protobuf."
_SCHEMAS = {
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value"), "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"), "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"), "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value")},
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
}
_SIMPLE = {"int64": 3, "bool": 8, "string": 9}  # FieldDescriptorProto.Type
_MESSAGE = 11


def models_of(config_file: Path, labels_at_boot: bool) -> list:
    """The models that a ModelServerConfig file names.

    Raises:
      ServingError: it cannot be read, or names versions that are not there.
    """
    from tensorflow_serving.config import model_server_config_pb2

    from crater_model.serving.models import Model

    config = _read(config_file, model_server_config_pb2.ModelServerConfig)
    models = []
    for entry in config.model_config_list.config:
        if entry.version_labels and not labels_at_boot:  # as TF Serving does
            raise ServingError(f"{config_file}: labels versions before they are loaded; give "
                               "--allow_version_labels_for_unavailable_models")
        if entry.model_platform != "tensorflow":
            raise ServingError(f"{config_file}: model {entry.name}: model_platform is "
                               f"{entry.model_platform!r}, expected 'tensorflow'")
        policy = entry.model_version_policy
        if policy.HasField("specific"):
            found = version_folders(entry.base_path)
            missing = set(policy.specific.versions) - set(found)
            if missing:
                raise ServingError(f"{entry.base_path}: has no version {min(missing)}, "
                                   f"which {config_file} names; it has {list(found)}")
            chosen = Policy(specific=frozenset(policy.specific.versions))
        else:
            chosen = Policy(None if policy.HasField("all") else policy.latest.num_versions or 1)
        models.append(Model(entry.name, entry.base_path, chosen, dict(entry.version_labels)))
    return models


def batching_of(file: Path) -> Batching:
    """The settings of a BatchingParameters file.

    `max_enqueued_batches` is taken as the number of requests that may wait. Allowed sizes, the
    splitting of large requests and the name of the threads are for TF Serving alone.

    Raises:
      ServingError: it is no such file, or a number is below 1 where one is needed.
    """
    found = _read(file, _messages()["BatchingParameters"])
    default = Batching()

    def value(name, otherwise):
        return getattr(found, name).value if found.HasField(name) else otherwise

    for name in ("max_batch_size", "num_batch_threads", "max_enqueued_batches"):
        if value(name, 1) < 1:
            raise ServingError(f"{file}: {name} is {value(name, 1)}, expected a number from 1")
    return Batching(
        value("max_batch_size", default.max_batch_size),
        value("batch_timeout_micros", default.batch_timeout_ms * 1e3) / 1e3,
        value("num_batch_threads", default.num_batch_threads),
        value("max_enqueued_batches", default.max_queued),
        found.pad_variable_length_inputs)


def metrics_path_of(file: Path) -> str | None:
    """The path of a MonitoringConfig's Prometheus endpoint; None when it is not enabled.

    Raises:
      ServingError: it is no such file.
    """
    prometheus = _read(file, _messages()["MonitoringConfig"]).prometheus_config
    return (prometheus.path or METRICS_PATH) if prometheus.enable else None


def _read(file: Path, kind):
    try:
        return text_format.Parse(file.read_text(), kind())
    except OSError as error:
        raise ServingError(f"{file}: cannot be read ({error.strerror})") from None
    except text_format.ParseError as error:
        raise ServingError(f"{file}: not a {kind.DESCRIPTOR.name}: {error}") from None


@functools.cache
def _messages() -> dict[str, type]:
    """The classes of `_SCHEMAS`."""
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    file = descriptor_pb2.FileDescriptorProto(name="crater_model/serving.proto", syntax="proto3",
                                              package="serving", dependency=[wrappers.name])
    for name, fields in _SCHEMAS.items():
        message = file.message_type.add(name=name)
        for key, (number, kind) in fields.items():
            repeated, kind = kind.startswith("repeated "), kind.removeprefix("repeated ")
            field = message.field.add(name=key, number=number, label=3 if repeated else 1,
                                      type=_SIMPLE.get(kind, _MESSAGE))
            if kind not in _SIMPLE:
                field.type_name = (".serving." if kind in _SCHEMAS else _WRAPPED) + kind
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving.{name}"))
            for name in _SCHEMAS}
