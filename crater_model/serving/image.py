"""The serving image: its build context, and building it with Docker or buildah.

The context is complete: `docker build CONTEXT` makes the same image, labels included.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from crater_model.errors import ConfigError, CraterError, ServingError
from crater_model.files import whole_folder
from crater_model.serving.container import run_image  # noqa: F401 (part of this interface)
from crater_model.serving.engine import (  # noqa: F401
    BaseImageUnavailable,
    EngineUnavailable,
    build,
    choose_engine,
    find_engine,
    pull_base,
)
from crater_model.serving.engine import push as push_image
from crater_model.serving.versions import version_folders

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile.serving"
CONFIGURATION = (ROOT / "deploy" / "serving" / "batching.config",
                 ROOT / "deploy" / "serving" / "monitoring.config")
_BASE = re.compile(r"^ARG BASE_IMAGE=(\S+)$", re.MULTILINE)
_REFERENCE = re.compile(r"[a-z0-9]([a-zA-Z0-9._/:@-]*[a-zA-Z0-9_])?")
_MODEL = "crater"  # the name the Dockerfile's paths and clients use


@dataclass(frozen=True)
class ImageResult:
    """An image that was built.

    Attributes:
      reference: the tag it has, NAME[:TAG].
      digest: the engine's id of it, "sha256:...".
      engine: "docker" or "buildah".
      base: the image it was built on.
      labels: its OCI labels.
      context: the build context that was kept, or None.
      pushed: the reference by digest, NAME@sha256:..., after a push, else None.
    """

    reference: str
    digest: str
    engine: str
    base: str
    labels: dict[str, str]
    context: str | None = None
    pushed: str | None = None

    def to_json(self) -> dict:
        return asdict(self)


def default_base(gpu: bool = False) -> str:
    """The pinned base image of Dockerfile.serving, or its GPU variant."""
    found = _BASE.search(_read(DOCKERFILE))
    if not found:
        raise CraterError(f"{DOCKERFILE}: expected a line ARG BASE_IMAGE=IMAGE")
    return found[1] + ("-gpu" if gpu else "")


def write_context(saved_model_dir: str | Path, out_dir: str | Path, base: str | None = None,
                  gpu: bool = False) -> Path:
    """Writes the complete build context to `out_dir`, whole or not at all, and returns it.

    Args:
      saved_model_dir: a version folder, or the parent of several (the newest is taken).
      out_dir: replaced when it is there.
      base: the base image; default that of Dockerfile.serving.
      gpu: with the default base, its GPU variant.

    Raises:
      ServingError: there is no SavedModel.
    """
    version, model = _newest_version(saved_model_dir)
    base = _checked(base or default_base(gpu), "base image")
    with whole_folder(out_dir) as folder:
        shutil.copytree(model, folder / "model" / str(version))
        (folder / "models.config").write_text(_models_config(version))
        for file in CONFIGURATION:
            (folder / file.name).write_text(_read(file))
        (folder / "Dockerfile").write_text(
            _BASE.sub(lambda _: f"ARG BASE_IMAGE={base}", _read(DOCKERFILE))
            + _label_lines(labels_of(model, version, base)))
        _readable_by_all(folder)  # the server in the image is not root
    return Path(out_dir)


def labels_of(model: Path, version: int, base: str) -> dict[str, str]:
    """OCI labels that say what an image holds, from the model card.

    https://github.com/opencontainers/image-spec/blob/main/annotations.md for the
    org.opencontainers names; `crater.*` are ours, metrics and label map as JSON.
    """
    file = model / "assets.extra" / "model_card.json"
    try:
        card = json.loads(file.read_text()) if file.is_file() else {}
        if not isinstance(card, dict):
            raise ValueError("not an object")
    except ValueError as error:
        raise ServingError(f"{file}: not a JSON object: {error}; export the model again") from None
    labels = {
        "org.opencontainers.image.title": _MODEL,
        "org.opencontainers.image.version": str(version),
        "org.opencontainers.image.description":
            card.get("description") or "Crater detector served by TensorFlow Serving",
        "org.opencontainers.image.revision": card.get("revision"),
        "org.opencontainers.image.base.name": base,
        "crater.metrics": card.get("metrics"),
        "crater.data": card.get("data"),
        "crater.label_map": card.get("label_map"),
    }
    return {key: value if isinstance(value, str) else json.dumps(value)
            for key, value in labels.items() if value}


def build_image(saved_model_dir: str | Path, tag: str, engine: str = "auto",
                base: str | None = None, gpu: bool = False, push: bool = False,
                context_dir: str | Path | None = None) -> ImageResult:
    """Builds the serving image. The engine's output goes to stderr.

    Args:
      saved_model_dir, base, gpu: as for `write_context`.
      tag: the image's name, NAME[:TAG], with the registry's address in it to push.
      engine: "docker", "buildah" or "auto".
      push: push it to the registry that `tag` names.
      context_dir: where to keep the build context; default nowhere.

    Raises:
      EngineUnavailable: no engine, or the one asked for does not answer.
      BaseImageUnavailable: the base image is not here and cannot be pulled.
      CraterError: the build or the push fails.
    """
    _checked(tag, "image name")
    engine = choose_engine(engine)
    version, model = _newest_version(saved_model_dir)
    base = pull_base(engine, _checked(base or default_base(gpu), "base image"))
    with tempfile.TemporaryDirectory() as temporary:
        context = write_context(model, context_dir or Path(temporary) / "context", base)
        digest = build(engine, context, tag)
    return ImageResult(tag, digest, engine, base, labels_of(model, version, base),
                       str(context_dir) if context_dir else None,
                       push_image(engine, tag) if push else None)


def _newest_version(path: str | Path) -> tuple[int, Path]:
    return max(version_folders(path).items())


def _models_config(version: int) -> str:
    return f"""# ModelServerConfig of TF Serving.
model_config_list {{
  config {{
    name: "{_MODEL}"
    base_path: "/models/{_MODEL}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: {version} }} }}
    version_labels {{ key: "stable" value: {version} }}
  }}
}}
"""


def _label_lines(labels: dict[str, str]) -> str:
    def quoted(text):
        text = " ".join(text.split())
        return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'
    return "\n" + "".join(f"LABEL {key}={quoted(value)}\n" for key, value in labels.items())


def _readable_by_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)


def _checked(reference: str, what: str) -> str:
    if not _REFERENCE.fullmatch(reference):
        raise ConfigError(f"{reference!r}: cannot name the {what}, expected something like "
                          "crater:1")
    return reference


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise CraterError(f"{file}: cannot be read ({error.strerror}); the serving image is "
                          "built from a clone of the repository") from None
