"""The serving image: building it with Docker or buildah, and pushing it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from crater_model.errors import CraterError
from crater_model.serving.container import run_image  # noqa: F401 (part of this interface)
from crater_model.serving.context import checked, chosen_models, default_base, write_context
from crater_model.serving.engine import (  # noqa: F401
    BaseImageUnavailable,
    Engine,
    EngineUnavailable,
    ImageAbsent,
    pull_base,
)
from crater_model.serving.engines import find_engine, open_engine  # noqa: F401
from crater_model.serving.labels import labels_of, named, same_model, same_version


class TagTaken(CraterError):
    """Another model has the tag already."""


@dataclass(frozen=True)
class ImageResult:
    """An image that was built.

    Attributes:
      reference: the tag it has, NAME[:TAG].
      image_id: the engine's id of it, "sha256:...".
      engine: "docker" or "buildah".
      base: the image it was built on.
      labels: its OCI labels.
      context: the build context that was kept, or None.
      digest: its digest in the registry, "sha256:...", after a push, else None.
      pushed: the reference by that digest, NAME@sha256:..., after a push, else None.
    """

    reference: str
    image_id: str
    engine: str
    base: str
    labels: dict[str, str]
    context: str | None = None
    digest: str | None = None
    pushed: str | None = None

    def to_json(self) -> dict:
        return asdict(self)


def build_image(saved_model_dir: str | Path, tag: str, engine: str = "auto",
                base: str | None = None, gpu: bool = False, push: bool = False,
                context_dir: str | Path | None = None,
                canary: str | Path | None = None) -> ImageResult:
    """Builds the serving image. The engine's output goes to stderr.

    A tag holds one model for ever: a different one under the same tag is refused, here and,
    before a push, in the registry. Only `latest` may go on to another version. Two pushes at
    the same moment do not see each other: no registry can be asked to compare first.

    Args:
      saved_model_dir, base, gpu, canary: as for `write_context`.
      tag: the image's name, NAME[:TAG], with the registry's address in it to push.
      engine: "docker", "buildah" or "auto".
      push: push it to the registry that `tag` names.
      context_dir: where to keep the build context; default nowhere.

    Raises:
      EngineUnavailable: no engine, or the one asked for does not answer.
      BaseImageUnavailable: the base image is not here and cannot be pulled.
      TagTaken: the tag holds another model.
      CraterError: the build or the push fails.
    """
    checked(tag, "image name")
    opened = open_engine(engine)
    stable, second = chosen_models(saved_model_dir, canary)
    base = checked(base or default_base(gpu), "base image")
    _refuse_another_model(opened, tag, labels_of(stable, base, second), push)
    base = pull_base(opened, base)
    labels = labels_of(stable, base, second)
    with tempfile.TemporaryDirectory() as temporary:
        context = write_context(stable[1], context_dir or Path(temporary) / "context", base,
                                canary=second and second[1])
        opened.build(context, tag)
    digest = opened.push(tag) if push else None
    built = opened.find(tag)
    assert built is not None
    return ImageResult(tag, built.id, opened.name, base, labels,
                       str(context_dir) if context_dir else None, digest,
                       digest and f"{_name_and_tag(tag)[0]}@{digest}")


def _refuse_another_model(engine: Engine, tag: str, labels: Mapping[str, str],
                          registry: bool) -> None:
    places = {"on this machine": engine.find(tag)}
    if registry:
        places["in the registry"] = _in_registry(engine, tag)
    for where, held in places.items():
        if held is None or same_model(held.labels, labels):
            continue
        if _name_and_tag(tag)[1] == "latest" and not same_version(held.labels, labels):
            continue
        raise TagTaken(f"{tag}: this tag holds {named(held.labels)} {where}, and was to hold "
                       f"{named(labels)}; give another tag, or export the model as another "
                       "version")


def _in_registry(engine: Engine, tag: str):
    """The image that the registry has under a tag, None where it has none.

    The engine pulls it, since that works with every registry and login; its base is mostly
    here already. A tag that names a local image names it afterwards, too.
    """
    before = engine.find(tag)
    try:
        engine.pull(tag)
    except ImageAbsent:
        return None
    held = engine.find(tag)
    if before:
        engine.tag(before.id, tag)
    return held


def _name_and_tag(reference: str) -> tuple[str, str]:
    name, colon, tag = reference.rpartition(":")
    return (reference, "latest") if not colon or "/" in tag else (name, tag)
