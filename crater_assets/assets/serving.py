"""The best model in a TF Serving image."""

from typing import Any

import dagster as dg
from pydantic import Field

from crater_assets.artifacts import artifact_files
from crater_assets.display import summary
from crater_assets.faults import RETRY
from crater_assets.history import plain_failures, short_hash, upstream
from crater_assets.metadata import described
from crater_assets.promotion import SAVED_MODEL, promotion_problem
from crater_assets.resources import Crater
from crater_model.errors import DataError


class ImageConfig(dg.Config):
    """How the image is built."""

    repository: str = Field("crater-serving", description="Name of the image, with its registry.")
    gpu: bool = Field(False, description="On TF Serving's GPU base.")
    push: bool = Field(False, description="Push it to its registry.")


@dg.asset(deps=["best_model"], group_name="craters", kinds={"docker"}, owners=["team:craters"],
          code_version="1", retry_policy=RETRY)
def serving_image(context: dg.AssetExecutionContext, crater: dg.ResourceParam[Crater],
                  config: ImageConfig) -> dg.MaterializeResult:
    """A TF Serving image with the best model in it.

    It is built with a Docker engine or buildah, whichever answers. Where there is none, or the
    base image cannot be had, the complete build context is written and the metadata says so
    plainly, with the command that builds it elsewhere. A model that is worse than the one in
    service is refused, in whatever run it was made, and so is a tag that holds another model,
    here or in the registry. After a push the metadata has the digest to deploy by.
    """
    with plain_failures():
        from crater_model.serving.image import (
            BaseImageUnavailable,
            build_image,
            find_engine,
            write_context,
        )

        model = upstream(context, "best_model")
        worse = promotion_problem(model.metadata)  # also where its check was left out
        if worse:
            raise DataError(f"best_model[version {model.metadata['version']}] does not go into "
                            f"service: {worse}")
        storage = crater.open_storage()
        saved_model = storage.fetch(model.artifact) / SAVED_MODEL / str(model.metadata["version"])
        tag = f"{config.repository}:{model.metadata['version']}-{short_hash(model.artifact)}"
        key = f"serving_image/{short_hash(model.artifact, crater.serving_base, config.gpu)}"
        folder = storage.path(key)
        options: dict[str, Any] = {"base": crater.serving_base or None, "gpu": config.gpu}
        image, why = None, ("No container engine answers here (neither Docker nor buildah)."
                            if find_engine() is None else "")
        if not why:
            try:
                image = build_image(saved_model, tag, push=config.push, context_dir=folder,
                                    **options)
            except BaseImageUnavailable as error:
                why = str(error)
        if image is None:
            write_context(saved_model, folder, **options)
        files = storage.publish(key)
    command = f"docker build -t {tag} {folder}"
    metadata = {
        "artifact": key, "url": storage.url(key),
        **artifact_files(storage, key),
        "context": dg.MetadataValue.path(str(folder)), "version": model.metadata["version"],
        "best_model": model.artifact, "built": image is not None,
        "build_command": dg.MetadataValue.path(command),
    }
    if image is not None:
        metadata |= {"image": image.reference, "image_id": image.image_id, "engine": image.engine,
                     "base": image.base, "labels": dg.MetadataValue.json(image.labels)}
        if image.pushed:
            pull = f"docker pull {image.pushed}"
            metadata |= {"digest": image.digest, "pushed": image.pushed,
                         "pull_command": dg.MetadataValue.path(pull)}
        metadata["summary"] = summary(
            f"**{image.reference}** holds version {metadata['version']}" + (
                f", pushed as {image.pushed}" if image.pushed else ", on this machine only"),
            f"run it: `docker run --rm -p 127.0.0.1:8500:8500 {image.pushed or image.reference}`.")
    else:
        context.log.warning(why)
        metadata["summary"] = summary(
            "**No image was built**; *no_image* says why. The build context is complete.",
            f"`{command}` where there is an engine and the base image.")
        metadata["no_image"] = (f"No image was built. {why.rstrip('.')}. The build context is "
                                f"complete: run `{command}` where there is an "
                                "engine.")
    return dg.MaterializeResult(
        metadata=described("serving_image", metadata),
        data_version=dg.DataVersion(image.image_id if image else f"context-{short_hash(files)}"))
