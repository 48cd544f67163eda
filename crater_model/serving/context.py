"""The build context of the serving image: everything that its Dockerfile needs.

The context is complete: `docker build CONTEXT` makes the same image, labels included.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from crater_model.errors import ConfigError, CraterError
from crater_model.files import whole_folder
from crater_model.revision import ROOT
from crater_model.serving.labels import MODEL, can_be_joined, labels_of
from crater_model.serving.versions import version_folders

DOCKERFILE = ROOT / "Dockerfile.serving"
CONFIGURATION = tuple(ROOT / "deploy" / "serving" / name
                      for name in ("batching.config", "monitoring.config", "serve.sh"))
_BATCHING_FLAG = re.compile(r' *"--(?:enable_batching|batching_parameters_file)=[^"]*", \\\n')
_REFERENCE = re.compile(r"[a-z0-9]([a-zA-Z0-9._/:@-]*[a-zA-Z0-9_])?")


def default_base(gpu: bool = False) -> str:
    """The pinned base image of Dockerfile.serving, or its GPU variant."""
    text = _read(DOCKERFILE)
    version = "GPU_BASE_VERSION" if gpu else "BASE_VERSION"
    return f"{_argument(text, 'BASE_IMAGE')}:{_argument(text, version)}"


def chosen_models(saved_model_dir: str | Path, canary_dir: str | Path | None = None
                  ) -> tuple[tuple[int, Path], tuple[int, Path] | None]:
    """Version and folder of the stable model, and of the canary where there is one.

    Args:
      saved_model_dir, canary_dir: a version folder each, or the parent of several (the
        newest is taken).

    Raises:
      ServingError: there is no SavedModel.
      ConfigError: both have the same version.
    """
    stable = max(version_folders(saved_model_dir).items())
    if canary_dir is None:
        return stable, None
    canary = max(version_folders(canary_dir).items())
    if canary[0] == stable[0]:
        raise ConfigError(f"{canary[1]}: the canary has version {canary[0]}, as the stable model "
                          f"{stable[1]} has; export it as another version")
    return stable, canary


def write_context(saved_model_dir: str | Path, out_dir: str | Path, base: str | None = None,
                  gpu: bool = False, canary: str | Path | None = None) -> Path:
    """Writes the complete build context to `out_dir`, whole or not at all, and returns it.

    Args:
      saved_model_dir, canary: as for `chosen_models`.
      out_dir: replaced when it is there.
      base: the base image; default that of Dockerfile.serving.
      gpu: with the default base, its GPU variant.

    Raises:
      ServingError: there is no SavedModel.
      ConfigError: the base image's name or the canary cannot be used.
    """
    stable, second = chosen_models(saved_model_dir, canary)
    base = checked(base or default_base(gpu), "base image")
    models = [stable, second] if second else [stable]
    with whole_folder(out_dir) as folder:
        for version, model in models:
            shutil.copytree(model, folder / "model" / str(version))
        (folder / "models.config").write_text(_models_config(*(version for version, _ in models)))
        for file in CONFIGURATION:
            (folder / file.name).write_text(_read(file))
        dockerfile = _on_base(_read(DOCKERFILE), base)
        if not all(can_be_joined(model) for _, model in models):
            dockerfile = _BATCHING_FLAG.sub("", dockerfile)
        (folder / "Dockerfile").write_text(
            dockerfile + _label_lines(labels_of(stable, base, second)))
        _plain_files(folder)
    return Path(out_dir)


def checked(reference: str, what: str) -> str:
    """`reference`, or a ConfigError where it cannot name an image."""
    if not _REFERENCE.fullmatch(reference):
        raise ConfigError(f"{reference!r}: cannot name the {what}, expected something like "
                          "crater:1")
    return reference


def _on_base(dockerfile: str, base: str) -> str:
    name, colon, version = base.rpartition(":")  # also NAME@sha256:HEX
    if not colon or "/" in version:  # a registry's port
        name, version = base, "latest"
    for key, value in (("BASE_IMAGE", name), ("BASE_VERSION", version)):
        dockerfile = re.sub(rf"^ARG {key}=\S+$", f"ARG {key}={value}", dockerfile,
                            flags=re.MULTILINE)
    return dockerfile


def _argument(dockerfile: str, name: str) -> str:
    found = re.search(rf"^ARG {name}=(\S+)$", dockerfile, re.MULTILINE)
    if not found:
        raise CraterError(f"{DOCKERFILE}: expected a line ARG {name}=VALUE")
    return found[1]


def _models_config(stable: int, canary: int | None = None) -> str:
    # Without a canary that label names the stable version, so that clients of it are served.
    versions = " ".join(f"versions: {version}" for version in (stable, canary) if version)
    return f"""# ModelServerConfig of TF Serving.
model_config_list {{
  config {{
    name: "{MODEL}"
    base_path: "/models/{MODEL}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ {versions} }} }}
    version_labels {{ key: "stable" value: {stable} }}
    version_labels {{ key: "canary" value: {canary or stable} }}
  }}
}}
"""


def _label_lines(labels: dict[str, str]) -> str:
    def quoted(text):
        text = " ".join(text.split())
        return '"' + re.sub(r'(["\\$])', r"\\\1", text) + '"'
    return "\n" + "".join(f"LABEL {key}={quoted(value)}\n" for key, value in labels.items())


def _plain_files(folder: Path) -> None:
    """Readable by all, since the server in the image is not root, and of one time, so that the
    same model makes the same layer again."""
    for path in (folder, *folder.rglob("*")):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
        os.utime(path, (0, 0))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise CraterError(f"{file}: cannot be read ({error.strerror}); the serving image is "
                          "built from a clone of the repository") from None
