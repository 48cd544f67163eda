"""TF Serving's configuration files, in protobuf's text format."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf import text_format

from crater_model.errors import ServingError
from crater_model.serving.settings import Batching
from crater_model.serving.versions import Policy, version_folders


def models_of(config_file: Path, labels_at_boot: bool) -> list:
    """The models that a ModelServerConfig file names.

    Raises:
      ServingError: it cannot be read, or names versions that are not there.
    """
    from tensorflow_serving.config import model_server_config_pb2

    from crater_model.serving.models import Model

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
    """The settings of a BatchingParameters file, whose schema the API package lacks.

    `max_enqueued_batches` is taken as the number of requests that may wait. Other fields
    (padding, allowed sizes) are for TF Serving alone and passed over.

    Raises:
      ServingError: a line that is not NAME { value: NUMBER } or NAME: VALUE, or a number
        below 1 where one is needed.
    """
    found = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        line = line.partition("#")[0].strip()
        match = re.fullmatch(r"(\w+)\s*(?:\{\s*value:\s*(\d+)\s*\}|:.*)", line)
        if line and not match:
            raise ServingError(f"{file}: line {number}: {line!r} is not NAME {{ value: NUMBER }}")
        if match and match[2]:
            found[match[1]] = int(match[2])
    for name in ("max_batch_size", "num_batch_threads", "max_enqueued_batches"):
        if found.get(name, 1) < 1:
            raise ServingError(f"{file}: {name} is {found[name]}, expected a number from 1")
    default = Batching()
    return Batching(
        found.get("max_batch_size", default.max_batch_size),
        found.get("batch_timeout_micros", default.batch_timeout_ms * 1e3) / 1e3,
        found.get("num_batch_threads", default.num_batch_threads),
        found.get("max_enqueued_batches", default.max_queued))


def metrics_path_of(file: Path) -> str | None:
    """The path of a MonitoringConfig's Prometheus endpoint; None when it is not enabled."""
    text = re.sub(r"#.*", "", file.read_text())
    if not re.search(r"\benable:\s*true\b", text):
        return None
    path = re.search(r'\bpath:\s*"([^"]+)"', text)
    return path[1] if path else "/monitoring/prometheus/metrics"  # TF Serving's default
