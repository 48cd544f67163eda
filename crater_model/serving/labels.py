"""The OCI labels of a serving image: which model it holds and where that came from.

`org.opencontainers.image.*` are those of the OCI image specification's annotations,
`crater.*` are ours; metrics and label map are JSON. Nothing in them depends on the time of
the build, unless SOURCE_DATE_EPOCH asks for `created`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from crater_model.errors import ConfigError, ServingError
from crater_model.revision import source_revision

MODEL = "crater"  # the name the Dockerfile's paths and clients use
MODEL_CARD = "assets.extra/model_card.json"
SHA256 = "crater.model.sha256"
CANARY_SHA256 = "crater.canary.sha256"
_VERSION = "org.opencontainers.image.version"
_CANARY_VERSION = "crater.canary.version"


def labels_of(stable: tuple[int, Path], base: str,
              canary: tuple[int, Path] | None = None) -> dict[str, str]:
    """The labels of an image.

    Args:
      stable, canary: version and folder of the models in it.
      base: the image it is built on.

    Raises:
      ServingError: a model card is broken.
      ConfigError: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    version, folder = stable
    card = _model_card(folder)
    labels = {
        "org.opencontainers.image.title": MODEL,
        _VERSION: str(version),
        "org.opencontainers.image.description":
            card.get("description") or "Crater detector served by TensorFlow Serving",
        # The code that exported the model; for a card that does not say, the one at hand.
        "org.opencontainers.image.revision": card.get("source_revision") or source_revision(),
        "org.opencontainers.image.created": _created(),
        "org.opencontainers.image.base.name": base,
        SHA256: fingerprint(folder),
        "crater.metrics": card.get("metrics"),
        "crater.data": card.get("data"),
        "crater.label_map": card.get("label_map"),
    }
    if canary:
        card = _model_card(canary[1])
        labels |= {_CANARY_VERSION: str(canary[0]), CANARY_SHA256: fingerprint(canary[1]),
                   "crater.canary.metrics": card.get("metrics"),
                   "crater.canary.data": card.get("data")}
    return {key: value if isinstance(value, str) else json.dumps(value)
            for key, value in labels.items() if value}


def fingerprint(folder: Path) -> str:
    """SHA-256 over a model folder's files: over the lines that `sha256sum` prints for them in
    the order of their names."""
    total = hashlib.sha256()
    files = {file.relative_to(folder).as_posix(): file
             for file in folder.rglob("*") if file.is_file()}
    for name, file in sorted(files.items()):
        with file.open("rb") as stream:
            total.update(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {name}\n".encode())
    return f"sha256:{total.hexdigest()}"


def can_be_joined(folder: Path) -> bool:
    """Whether requests to a model may be joined: all but those of pixels of any size, which do not
    fit together (`batching` of its card; a card without it says so by its input)."""
    card = _model_card(folder)
    free = (card.get("inference_input_type") == "image_tensor"
            and not card.get("inference_input_shape"))
    return card.get("batching", not free)


def same_model(held: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether two images' labels name the same models."""
    return SHA256 in held and all(held.get(key) == new.get(key) for key in (SHA256, CANARY_SHA256))


def same_version(held: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether two images' labels name the same versions, whatever the models."""
    return all(held.get(key) == new.get(key) for key in (_VERSION, _CANARY_VERSION))


def named(labels: Mapping[str, str]) -> str:
    """The models that labels name, in words."""
    if SHA256 not in labels:
        return f"an image without the label {SHA256}"
    words = f"version {labels.get(_VERSION)} ({labels[SHA256]})"
    if CANARY_SHA256 in labels:
        words += f" with canary {labels.get(_CANARY_VERSION)} ({labels[CANARY_SHA256]})"
    return words


def _model_card(model: Path) -> dict:
    file = model / MODEL_CARD
    try:
        card = json.loads(file.read_text()) if file.is_file() else {}
        if not isinstance(card, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise ServingError(f"{file}: not a JSON object: {error}; export the model again") from None
    return card


def _created() -> str | None:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    try:
        return datetime.fromtimestamp(int(epoch), UTC).isoformat()
    except (ValueError, OverflowError):
        raise ConfigError(f"SOURCE_DATE_EPOCH={epoch}: expected whole seconds since "
                          "1970") from None
