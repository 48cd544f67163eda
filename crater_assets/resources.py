"""What the environment chooses: the data, the place, the experiment."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, cast

import dagster as dg
from pydantic import BaseModel, Field

from crater_assets.history import short_hash
from crater_model.annotations.dataset import is_dataset
from crater_model.errors import ConfigError, DataError
from crater_model.files import write_json
from crater_model.storage import Storage, open_storage

EMBEDDED = "datasets/synthetic"  # the artifact that stands in where no data set is named
_POINTER = "dataset.json"  # names the artifact that a source was last stored as
HYPERPARAMETERS = Path(__file__).with_name("hyperparameters.yaml")


class Crater(BaseModel, frozen=True):
    """Where things are and what is trained; `from_environment` fills it in.

    It is not part of a run's configuration: a browser keeps that after an edit, and would go on
    with the data set of another day.
    """

    dataset: str = Field("", description="Labelled images: a data set, or labels of any known "
                                         "form, which are imported first. Empty: synthetic "
                                         "terrain, rendered when first needed. (CRATER_DATASET)")
    images: str = Field("", description="An image or a folder with the images, where they do not "
                                        "lie with the labels. (CRATER_IMAGES)")
    storage: str = Field("storage", description="Folder or gs://BUCKET/PREFIX for everything "
                                                "that is made. (CRATER_STORAGE)")
    records: Literal["cache", "direct"] = Field(
        "cache", description="How training reads records in a bucket: from a local copy, or "
                             "straight from gs://. (CRATER_RECORDS)")
    experiment: str = Field("demo", description="A preset's name or a YAML file. "
                                                "(CRATER_EXPERIMENT)")
    server: str = Field("", description="HOST:PORT[,...] of the model in service, asked for maps. "
                                        "Empty: the serving image's model runs in the step. "
                                        "(CRATER_SERVER)")
    server_ca: str = Field("", description="PEM file of the authorities that its certificate is "
                                           "trusted by. (CRATER_SERVER_CA)")
    server_certificate: str = Field("", description="PEM file that shows it who asks (mutual TLS). "
                                                    "(CRATER_SERVER_CERTIFICATE)")
    server_key: str = Field("", description="PEM file of that certificate's key. "
                                            "(CRATER_SERVER_KEY)")
    server_token_file: str = Field("", description="File that holds a bearer token for it. "
                                                   "(CRATER_SERVER_TOKEN_FILE)")
    serving_base: str = Field("", description="Base of the serving image. Empty: the pinned "
                                              "TF Serving image. (CRATER_SERVING_BASE)")

    @classmethod
    def from_environment(cls) -> "Crater":
        """Reads the CRATER_ variables; relative paths start at the current directory.

        Raises:
          ConfigError: one of them has no such value.
        """
        experiment = os.environ.get("CRATER_EXPERIMENT") or "demo"
        records = os.environ.get("CRATER_RECORDS") or "cache"
        if records not in ("cache", "direct"):
            raise ConfigError(f"CRATER_RECORDS {records}: expected cache or direct")
        return cls(
            dataset=absolute(os.environ.get("CRATER_DATASET", "")),
            images=absolute(os.environ.get("CRATER_IMAGES", "")),
            storage=absolute(os.environ.get("CRATER_STORAGE") or "storage"),
            records=cast(Literal["cache", "direct"], records),
            experiment=absolute(experiment) if experiment.endswith((".yaml", ".yml"))
            else experiment,
            server=os.environ.get("CRATER_SERVER", ""),
            server_ca=absolute(os.environ.get("CRATER_SERVER_CA", "")),
            server_certificate=absolute(os.environ.get("CRATER_SERVER_CERTIFICATE", "")),
            server_key=absolute(os.environ.get("CRATER_SERVER_KEY", "")),
            server_token_file=absolute(os.environ.get("CRATER_SERVER_TOKEN_FILE", "")),
            serving_base=os.environ.get("CRATER_SERVING_BASE", ""),
        )

    @property
    def source(self) -> str:
        """The labelled images in words, as runs and records name them."""
        return " with images of ".join(filter(None, (self.dataset, self.images))) or (
            "rendered terrain")

    @property
    def server_options(self) -> dict[str, Any]:
        """What `Client` is given beside the servers' addresses to know them and to be known."""
        given = {"ca": self.server_ca, "certificate": self.server_certificate,
                 "key": self.server_key,
                 "token": self.server_token_file and Path(self.server_token_file)}
        return {name: value for name, value in given.items() if value}

    def open_storage(self) -> Storage:
        return open_storage(self.storage, client=_cloud_client,
                                stream=self.records == "direct")

    def dataset_folder(self) -> Path:
        """The data set; it is imported or rendered first where it is not stored yet.

        A source that has changed (a file's name, size or time) is imported anew. Where the storage
        is a bucket, a data set is copied there too, and a machine that does not have the source
        takes what was last stored of it.

        Raises:
          DataError: the source's labels or images cannot be used.
        """
        for name, value in (("CRATER_DATASET", self.dataset), ("CRATER_IMAGES", self.images)):
            if "://" in value:
                raise ConfigError(f"{name} {value}: expected a local path; copy the data to one")
        if not self.dataset:
            from crater_model.synthesis import synthesize

            return self._stored(EMBEDDED, synthesize)
        elsewhere = "://" in self.storage
        as_it_is = not self.images and is_dataset(self.dataset)
        if as_it_is and not elsewhere:
            return Path(self.dataset)
        if elsewhere and not Path(self.dataset).exists():
            return self._named()
        from crater_model.importing.dataset import import_dataset, source_stamp

        stamp = source_stamp(self.dataset, self.images or None)
        folder = self._stored(
            key := f"datasets/imported-{stamp[:16]}",
            lambda folder: shutil.copytree(self.dataset, folder, dirs_exist_ok=True) if as_it_is
            else import_dataset(self.dataset, folder, images=self.images or None))
        if elsewhere:
            storage = self.open_storage()
            write_json(storage.path(self._pointer()) / _POINTER, {"key": key})
            storage.publish(self._pointer())
        return folder

    def _named(self) -> Path:
        """What a machine that has the source stored of it."""
        storage = self.open_storage()
        if not storage.exists(self._pointer()):
            raise DataError(f"CRATER_DATASET {self.dataset}: is neither on this machine nor in "
                            f"{self.storage}; materialize annotated_images where it is")
        pointer = storage.fetch(self._pointer()) / _POINTER
        return storage.fetch(json.loads(pointer.read_text())["key"])

    def _pointer(self) -> str:
        return f"datasets/named-{short_hash(self.dataset, self.images)}"

    def dataset_stamp(self) -> str:
        """A text that changes with the labelled images (names, sizes, times): cheap to ask for.
        Empty for rendered terrain, and for what does not lie on this machine.

        Raises:
          DataError: there is no such source.
        """
        if not self.dataset or "://" in self.dataset + self.images:
            return ""
        from crater_model.importing.dataset import source_stamp

        return source_stamp(self.dataset, self.images or None)

    def _stored(self, key: str, make: Callable[[Path], object]) -> Path:
        storage = self.open_storage()
        if not storage.exists(key):
            make(storage.path(key))
            storage.publish(key)
        return storage.fetch(key)


def crater_resource(crater: Crater) -> dg.ResourceDefinition:
    """The resource as the code location gives it: nothing of it can be set by a run, and each
    step's log begins with the data set."""
    def given(context: dg.InitResourceContext) -> Crater:
        if context.log:
            context.log.info(f"data set: {crater.source}; storage: {crater.storage}")
        return crater

    return dg.ResourceDefinition(given, config_schema={}, description=Crater.__doc__)


def _cloud_client():
    """Google's client, as dagster-gcp makes it. (Its import takes seconds.)"""
    from dagster_gcp import GCSResource

    return GCSResource().get_client()


def hyperparameters_file() -> Path:
    """$CRATER_HYPERPARAMETERS or the file beside this module."""
    return Path(absolute(os.environ.get("CRATER_HYPERPARAMETERS", "")) or HYPERPARAMETERS)


def absolute(path: str) -> str:
    """The path from the current directory; addresses and "" as they are."""
    if not path or "://" in path:
        return path
    return str(Path(path).expanduser().absolute())
